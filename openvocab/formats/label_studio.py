"""Label Studio: tasks.json with predicted rectangles, brushes and choices, and their labeling configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from openvocab.batch.rows import Row
from openvocab.formats.detections import detections_of, mask_of, run_lengths
from openvocab.formats.job import Job
from openvocab.formats.targets import JsonList, atomic_folder, open_text
from openvocab.formats.xml_text import element
from openvocab.pipeline.detections import Detection, shortest

__all__ = ["brush", "label_config", "write_label_studio"]

_SIZES = np.array([3, 4, 8, 16])
"""The sizes in bits of run lengths, the same four that Label Studio uses."""

_VALUE_BITS = 8


def write_label_studio(job: Job) -> None:
    """Write tasks.json and labeling-config.xml, without inputs that have no answer.

    The option prefix is prepended to ids, such as "/data/local-files/?d=" for images on the server's disk.
    """
    with atomic_folder(job.path) as folder:
        with open_text(folder / "labeling-config.xml") as config:
            config.write(label_config(job.labels.names) + "\n")
        with open_text(folder / "tasks.json") as file:
            tasks = JsonList(file)
            for number, row in enumerate(job):
                if row.status == "ok":
                    tasks.add(_task(job, row, number))
            tasks.close()


def label_config(labels: tuple[str, ...]) -> str:
    """Return the labeling configuration of the predictions."""
    view = ElementTree.Element("View")
    element(view, "Image", name="image", value="$image")
    for tag, name, inner in (("RectangleLabels", "box", "Label"), ("BrushLabels", "mask", "Label")):
        control = element(view, tag, name=name, toName="image")
        for label in labels:
            element(control, inner, value=label)
    choices = element(view, "Choices", name="tags", toName="image", choice="multiple")
    for label in labels:
        element(choices, "Choice", value=label)
    ElementTree.indent(view)
    return ElementTree.tostring(view, "unicode")


def _task(job: Job, row: Row, number: int) -> dict[str, Any]:
    found = list(detections_of(row, job))
    result = [
        shape for index, detection in enumerate(found) for shape in _shapes(job, row, detection, f"{number}-{index}")
    ]
    if row.tags:
        value = {"choices": [tag.label for tag in row.tags]}
        result.append(
            {"id": f"{number}-tags", "type": "choices", "from_name": "tags", "to_name": "image", "value": value}
        )
    scores = [detection.score for detection in found] or [shortest(tag.score) for tag in row.tags]
    prediction = {"model_version": "openvocab", "score": max(scores, default=0.0), "result": result}
    return {"data": {"image": job.image(row)}, "predictions": [prediction]}


def _shapes(job: Job, row: Row, detection: Detection, name: str) -> Iterator[dict[str, Any]]:
    mask = None if job.options.shapes == "box" else mask_of(detection)
    common: dict[str, Any] = {
        "to_name": "image",
        "original_width": row.width,
        "original_height": row.height,
        "image_rotation": 0,
    }
    common["score"] = detection.score
    if mask is not None:
        value: dict[str, Any] = {"format": "rle", "rle": brush(mask), "brushlabels": [detection.label]}
        yield {"id": f"{name}-mask", "type": "brushlabels", "from_name": "mask", **common, "value": value}
    if mask is None or job.options.shapes == "both":
        left, top, width, height = detection.xywh
        across, down = 100 / (row.width or 1), 100 / (row.height or 1)
        value = {"x": left * across, "y": top * down, "width": width * across, "height": height * down, "rotation": 0}
        value["rectanglelabels"] = [detection.label]
        yield {"id": f"{name}-box", "type": "rectanglelabels", "from_name": "box", **common, "value": value}


def brush(mask: NDArray[np.bool_]) -> list[int]:
    """Return a (height, width) mask as the bytes of a Label Studio brush.

    The encoding is that of the rle-pack library (thi.ng/umbrella), applied to the four RGBA bytes of each pixel, here 0
    or 255. The header has 32 bits for the number of values, 5 bits for the size of a value, and 4 times 4 bits for the
    sizes of run lengths. Each run is a 1, two bits for the size, the length minus one, and the value.
    """
    whole = run_lengths(mask.ravel()) * 4
    values = np.arange(whole.size) % 2 * 255
    longest = 1 << int(_SIZES[-1])
    pieces = np.maximum(-(-whole // longest), 0)  # an empty run has none
    lengths = np.full(pieces.sum(), longest)
    ends = pieces.cumsum()[pieces > 0] - 1
    lengths[ends] = (whole - (pieces - 1) * longest)[pieces > 0]
    values = values.repeat(pieces)
    choice = np.searchsorted(1 << _SIZES, lengths)
    sizes = _SIZES[choice]
    words = (((0b100 | choice) << sizes | lengths - 1) << _VALUE_BITS) | values
    used = 3 + sizes + _VALUE_BITS
    head = [(mask.size * 4, 32), (_VALUE_BITS - 1, 5), *((int(size) - 1, 4) for size in _SIZES)]
    bits = [_bits(np.array([word]), np.array([size])) for word, size in head]
    return np.packbits(np.concatenate([*bits, _bits(words, used)])).tolist()


def _bits(words: NDArray[np.int64], used: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return the used low bits of each word, concatenated."""
    places = np.arange(int(used.max(initial=1)) - 1, -1, -1)
    bits: NDArray[np.bool_] = (words[:, None] >> places & 1).astype(np.bool_)
    return bits[places < used[:, None]]
