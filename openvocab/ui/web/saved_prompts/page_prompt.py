"""What is on the page as a Prompt: words, what is not meant, exemplars, and the objects of the image."""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

import openvocab
from openvocab import BadInput, Exemplar, Mark, Prompt
from openvocab.pipeline.prompting.prompts import mark_mask, marked_row
from openvocab.ui.web.images import file_name
from openvocab.ui.web.text_inputs import parse_labels
from openvocab.ui.web.workspace import Object, Workspace, detection_keys, encode

if TYPE_CHECKING:
    from openvocab import Pipeline

__all__ = ["composed", "of_words", "read_upload", "with_marked", "with_objects"]


T = TypeVar("T", Exemplar, Mark)

_PNG = "iVBORw0KGgo"
"""The base64 of a PNG file begins with this."""


def read_upload(paths: Sequence[str] | None, max_pixels: int) -> Prompt:
    """Read an uploaded prompt file.

    Args:
        paths: The path of the upload, alone in a list.
        max_pixels: Maximum number of pixels of all images and masks in it, checked before one is decoded.

    Raises:
        BadInput: no file was chosen, it is no prompt, or its images are too large; the message has the file's name
            without its path.
    """
    if not paths:
        raise BadInput("there is no prompt file; choose one that was saved here or with: openvocab prompt add")
    path = paths[0]
    count = _pixels_of(path)
    if count > max_pixels:
        raise BadInput(
            f"the images in {file_name(path)!r} have {count} pixels, over {max_pixels}; save fewer exemplars"
        )
    try:
        return openvocab.read_prompt(path)
    except BadInput as error:
        raise BadInput(str(error).replace(repr(path), repr(file_name(path)))) from error


def _pixels_of(path: str) -> int:
    """Return the number of pixels of all PNG files in a JSON file; 0 if it is no JSON."""
    try:
        waiting, count = [json.loads(Path(path).read_bytes())], 0
    except (OSError, ValueError, RecursionError):  # read_prompt names the cause
        return 0
    while waiting:
        one = waiting.pop()
        waiting += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        if isinstance(one, str) and one.startswith(_PNG):
            count += _png_pixels(one)
    return count


def _png_pixels(text: str) -> int:
    """Return width times height of a PNG file in base64, from its first 24 bytes; 0 if they are none."""
    try:
        width, height = struct.unpack(">II", base64.b64decode(text[:32])[16:24])
    except (binascii.Error, ValueError, struct.error):
        return 0
    return int(width * height)


def composed(loaded: Prompt | None, words: str, negatives: str) -> Prompt | None:
    """Return the prompt that is on the page; None where words alone are typed.

    Args:
        loaded: The prompt whose file was loaded; its words are those that are typed now.
        words: Labels as typed.
        negatives: Labels that are not meant, as typed.

    Raises:
        BadInput: a label is invalid, or is meant and not meant.
    """
    if loaded is None and not negatives.strip():
        return None
    return replace(loaded or Prompt(), labels=_labels(words), negative_labels=_labels(negatives))


def of_words(words: str) -> Prompt:
    """Return a prompt of words as typed, which may be none.

    Raises:
        BadInput: a label is invalid.
    """
    return Prompt(_labels(words))


def _labels(text: str) -> tuple[str, ...]:
    return parse_labels(text) if text.strip() else ()


def with_objects(prompt: Prompt, workspace: Workspace, *, marks: bool) -> Prompt:
    """Return the prompt with what a person did in the workspace.

    Objects that were added or changed are meant, and those of the models that were deleted are not.

    Args:
        prompt: What to look for.
        workspace: The image with its objects.
        marks: Objects that are meant become marks, which belong to this image; else exemplars, for any image.
    """
    image, found = workspace.encoded.image, workspace.raw().detections
    edits, keys = workspace.edits, detection_keys(found)
    deleted = [at for at, key in enumerate(keys) if key in edits and edits[key] is None]
    against = [Exemplar.cut(image, found.labels[at], found.xyxy[at].tolist()) for at in deleted]
    prompt = replace(prompt, negative_exemplars=_each_once([*prompt.negative_exemplars, *against]))
    by_hand = [each for each in workspace.objects() if each.by_hand]
    if marks:
        return replace(prompt, marks=_each_once([*prompt.marks, *map(_mark_of, by_hand)]))
    shown = [Exemplar.cut(image, each.label, None if each.mask else each.xyxy, mask=_mask_of(each)) for each in by_hand]
    return replace(prompt, exemplars=_each_once([*prompt.exemplars, *shown]))


def _each_once(given: Iterable[T]) -> tuple[T, ...]:
    return tuple({each.digest: each for each in given}.values())


def _mark_of(one: Object) -> Mark:
    return Mark(one.label, box=None if one.mask else one.xyxy, mask=_mask_of(one))


def _mask_of(one: Object) -> NDArray[np.bool_] | None:
    return None if one.mask is None else openvocab.decode_mask(one.mask)


def with_marked(workspace: Workspace, pipe: Pipeline, prompt: Prompt) -> Workspace:
    """Return the workspace with each mark's object as an edit: it changes the object that it refines, or is added.

    The run record gets the digest of the prompt.

    Raises:
        BadInput: as segment_marked.
        BadOutput: the model's answer is not finite.
    """
    image, encoded = workspace.encoded.image, encode(pipe, workspace.encoded)
    for mark in prompt.marks:
        mask, score = mark_mask(pipe, image, mark, encoded.segmenter)
        row = marked_row(workspace.result().detections, mask, mark)
        if row is None:
            workspace = workspace.add(mask, score, mark.label)
            continue
        key = workspace.objects()[row].key
        workspace = workspace.reshape(key, mask, score)
        workspace = workspace.rename([key], mark.label) if mark.label else workspace
    if workspace.explored is None:
        return workspace
    record = replace(workspace.explored.record, prompt=prompt.digest)
    return replace(workspace, explored=replace(workspace.explored, record=record))
