"""The page's API as MCP tools: the same names and parameters, images in as data, structured answers out."""

from __future__ import annotations

import base64
import functools
import json
import mimetypes
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import numpy as np
from gradio.utils import get_upload_folder
from mcp.server.mcpserver import MCPServer
from mcp_types import (
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    TextContent,
    TextResourceContents,
)
from PIL import Image
from pydantic import Field

import openvocab
from openvocab import Result
from openvocab.errors import BadInput
from openvocab.ui.web.api import Endpoints
from openvocab.ui.web.batch_job import BatchJob, BatchRequest, Task
from openvocab.ui.web.error_messages import error_message
from openvocab.ui.web.everything.call import EverythingCall
from openvocab.ui.web.images import MAX_SIDE, data_url, draw_for_page, fit
from openvocab.ui.web.saved_prompts.call import PromptCall
from openvocab.ui.web.segment_call import SegmentCall
from openvocab.ui.web.tool_inputs import FileArguments

if TYPE_CHECKING:
    from openvocab.ui.web.context import Context

__all__ = ["server"]

_FILE = "base64 data of the file, with or without data:TYPE;base64, before it; or the path of an uploaded file; "
ImageFile = Annotated[str, Field(description=f"an image: {_FILE}or a path in the server's folder")]
Files = Annotated[list[str], Field(description=f"images or zip files, each {_FILE}or a path in the server's folder")]
_PROMPT = f"a prompt file, {_FILE}or a path in the server's folder"
PromptFile = Annotated[str, Field(description=_PROMPT)]
_LABELS = "labels separated by commas or newlines, the name of a label set, or a label set as JSON"
Labels = Annotated[str, Field(description=_LABELS)]
Template = Annotated[str, Field(description="the prompt template with {label} in it; default: the preset's")]
PresetName = Annotated[str, Field(description="the models' preset; default: the page's first one")]
Threshold = Annotated[float | None, Field(ge=0, le=1, description="default: the preset's")]
_DEFAULT = "default: the library's"
Option = Annotated[float | None, Field(ge=0, le=1, description=_DEFAULT)]
Kind = Literal["coco", "yolo", "mask", "image", "cutouts", "json"]
Answer = Annotated[CallToolResult, dict[str, Any]]

_MAX_EMBEDDED = 8 * 2**20
"""Maximum bytes of a file that is part of an answer; a larger one is downloaded from its url."""

F = TypeVar("F", bound=Callable[..., Any])


def server(context: Context) -> MCPServer[Any]:
    """Return the MCP server whose tools are the calls of the page's API."""
    made: MCPServer[Any] = MCPServer(
        "openvocab",
        instructions="Words in; tags, boxes and masks out. about lists the models and what they know.",
        version=openvocab.__version__,
        log_level="WARNING",
    )
    tools = _Tools(context)
    every: list[Callable[..., CallToolResult]]
    every = [
        tools.chain,
        tools.everything,
        tools.prompt,
        tools.download,
        tools.tag,
        tools.segment_prompt,
        tools.batch,
        tools.about,
        tools.label_set,
    ]
    for tool in every:
        made.add_tool(tool)
    return made


def _report(tool: F) -> F:
    """Turn the errors of a tool into an answer with one sentence."""

    @functools.wraps(tool)
    def call(*args: Any, **kwargs: Any) -> CallToolResult:
        try:
            found: CallToolResult = tool(*args, **kwargs)
        except Exception as error:
            text = TextContent(type="text", text=error_message(error))
            return CallToolResult(content=[text], is_error=True)
        return found

    return call  # type: ignore[return-value]


class _Tools:
    """The tools; method names and parameters are those of the API."""

    def __init__(self, context: Context) -> None:
        self._context, self._endpoints = context, Endpoints(context)
        self._prompts = SegmentCall(context)
        uploads = Path(get_upload_folder())
        self._files = FileArguments(uploads, context.folders, context.limits.upload_bytes)

    @_report
    def chain(
        self,
        image: ImageFile,
        labels: Labels,
        preset: PresetName = "",
        template: Template = "",
        tag_threshold: Threshold = None,
        box_threshold: Threshold = None,
        mask_threshold: Threshold = None,
        nms_iou: Threshold = None,
    ) -> Answer:
        """Find tags, boxes and masks of labels in one image; the answer has the annotated image too."""
        with self._files.paths([image]) as (path,):
            result = self._endpoints.result(
                path, labels, preset, template, (tag_threshold, box_threshold, mask_threshold, nms_iou)
            )
        return _answer(result.to_dict(), _drawn(result))

    @_report
    def everything(
        self,
        image: ImageFile,
        labels: Labels,
        preset: PresetName = "",
        template: Template = "",
        min_objectness: Option = None,
        unknown_threshold: Option = None,
        mask_iou: Option = None,
        points: Annotated[int | None, Field(ge=1, le=64, description=_DEFAULT)] = None,
        max_objects: Annotated[int | None, Field(ge=1, description=_DEFAULT)] = None,
    ) -> Answer:
        """Segment every object of one image, and name each by a label, or "unknown" where none fits."""
        options = (min_objectness, unknown_threshold, mask_iou, points, max_objects)
        with self._files.paths([image]) as (path,):
            result = EverythingCall(self._context).result(path, labels, preset, template, options)
        return _answer(result.to_dict(), _drawn(result))

    @_report
    def prompt(
        self,
        image: ImageFile,
        prompt: PromptFile,
        preset: PresetName = "",
        template: Template = "",
        tag_threshold: Threshold = None,
        box_threshold: Threshold = None,
        mask_threshold: Threshold = None,
        nms_iou: Threshold = None,
    ) -> Answer:
        """Find what a prompt file asks for in one image, as chain does for labels."""
        thresholds = (tag_threshold, box_threshold, mask_threshold, nms_iou)
        with self._files.paths([image, prompt]) as (path, file):
            result = PromptCall(self._context).result(path, [file], preset, template, thresholds)
        return _answer(result.to_dict(), _drawn(result))

    @_report
    def download(
        self,
        image: ImageFile,
        labels: Labels,
        kind: Kind,
        preset: PresetName = "",
        template: Template = "",
        tag_threshold: Threshold = None,
        box_threshold: Threshold = None,
        mask_threshold: Threshold = None,
        nms_iou: Threshold = None,
    ) -> Answer:
        """Run chain and return a file: COCO JSON, YOLO zip, mask PNG, annotated image, cutouts zip, or JSON."""
        thresholds = (tag_threshold, box_threshold, mask_threshold, nms_iou)
        with self._files.paths([image]) as (path,):
            made = Path(self._endpoints.download(path, labels, kind, preset, template, *thresholds))
        return _answer(_link(made), *_contents(made))

    @_report
    def tag(
        self,
        images: Files,
        labels: Labels,
        template: Template = "",
        none_of_these: bool = False,
        preset: PresetName = "",
    ) -> Answer:
        """Score labels for one or more images, best label first."""
        with self._files.paths(images) as paths:
            return _answer(self._endpoints.tag(paths, labels, template, none_of_these, preset))

    @_report
    def segment_prompt(
        self,
        image: ImageFile,
        points: Annotated[list[tuple[float, float]] | None, Field(description="[[x, y], ...] in pixels")] = None,
        point_labels: Annotated[list[int] | None, Field(description="per point 1 on the object, 0 off it")] = None,
        box: Annotated[list[float] | None, Field(description="[left, top, right, bottom] in pixels")] = None,
        name: Annotated[str, Field(description="label of the object")] = "",
        preset: PresetName = "",
    ) -> Answer:
        """Segment one object of an image by points, a box, or both: three masks, best first, and the first drawn."""
        at = None if points is None else [list(point) for point in points]
        with self._files.paths([image]) as (path,):
            found = self._prompts.segment(path, at, point_labels, box, name, preset)
            pixels = openvocab.read_image(path, max_pixels=self._context.limits.pixels)
        return _answer(found, _overlay(pixels, found["masks"][0]["mask"]))

    @_report
    def batch(
        self,
        files: Files,
        labels: Labels = "",
        template: Template = "",
        task: Task = "annotate",
        format: Annotated[str, Field(description="a format of openvocab export")] = "parquet",  # noqa: A002
        preset: PresetName = "",
        draw: Annotated[bool, Field(description="also write annotated images")] = False,
        prompt: Annotated[str, Field(description=f"in place of labels, {_PROMPT}")] = "",
    ) -> Answer:
        """Run the models over images and zip or tar files; the answer has a summary and a zip file."""
        with self._files.paths([*files, *([prompt] if prompt else [])]) as paths:
            uploads, asked = tuple(paths[: len(files)]), paths[-1] if prompt else ""
            request = BatchRequest(uploads, labels, template, task, format, preset, draw, asked)
            job = BatchJob(self._context, request, get_upload_folder())
            *_, summary = job.progress()
        made = None if job.file is None else Path(job.file)
        return _answer({**summary, **({} if made is None else _link(made))}, *([] if made is None else _contents(made)))

    @_report
    def about(self) -> Answer:
        """Return the loaded and the available presets, and the label sets."""
        return _answer(self._endpoints.about())

    @_report
    def label_set(self, name: Annotated[str, Field(description="a label set, as listed by about")]) -> Answer:
        """Return the labels of a label set."""
        if name not in openvocab.label_sets():
            raise BadInput(f"there is no label set named {name!r}; the tool about lists them")
        return _answer({"name": name, "labels": self._endpoints.label_set(name)})


def _answer(content: dict[str, Any], *blocks: ContentBlock) -> CallToolResult:
    """Return structured content, the same as text for clients that show only text, and further blocks."""
    text = TextContent(type="text", text=_text(content))
    return CallToolResult(content=[text, *blocks], structured_content=content)


def _text(content: dict[str, Any]) -> str:
    """Return JSON text without the masks, which are long and only useful to programs."""

    def short(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: short(each) for name, each in value.items() if name != "mask"}
        return [short(each) for each in value] if isinstance(value, list | tuple) else value

    return json.dumps(short(content), ensure_ascii=False)


def _drawn(result: Result) -> ImageContent:
    return _jpeg(data_url(draw_for_page(result)))


def _overlay(image: np.ndarray[Any, np.dtype[np.uint8]], code: dict[str, Any]) -> ImageContent:
    """Return an (H, W, 3) image with a mask tinted."""
    mask = openvocab.decode_mask({"size": code["size"], "counts": code["counts"].encode()})
    tinted = np.where(mask[..., None], image // 2 + np.array([18, 72, 70], np.uint8), image).astype(np.uint8)
    opened = Image.fromarray(tinted)
    return _jpeg(data_url(opened.resize(fit(opened.size, MAX_SIDE))))


def _jpeg(url: str) -> ImageContent:
    return ImageContent(type="image", data=url.partition(",")[2], mime_type="image/jpeg")


def _link(path: Path) -> dict[str, Any]:
    return {"file": path.name, "bytes": path.stat().st_size, "url": f"/gradio_api/file={path}"}


def _contents(path: Path) -> list[ContentBlock]:
    """Return a file as a block of an answer; none if it is large."""
    if path.stat().st_size > _MAX_EMBEDDED:
        return []
    data, kind = path.read_bytes(), mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if kind == "application/json":
        text = TextResourceContents(uri=f"openvocab:{path.name}", mime_type=kind, text=data.decode())
        return [EmbeddedResource(type="resource", resource=text)]
    code = base64.b64encode(data).decode()
    if kind.startswith("image/"):
        return [ImageContent(type="image", data=code, mime_type=kind)]
    blob = BlobResourceContents(uri=f"openvocab:{path.name}", mime_type=kind, blob=code)
    return [EmbeddedResource(type="resource", resource=blob)]
