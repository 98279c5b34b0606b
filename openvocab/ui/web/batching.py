"""A batch of the page: uploads through the batch engine into a run folder, and that as one zip file in a format."""

from __future__ import annotations

import secrets
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import openvocab
from openvocab.errors import BadInput, unknown
from openvocab.ui.web.archives import gather
from openvocab.ui.web.asking import sentence
from openvocab.ui.web.words import labels_of, template_of

if TYPE_CHECKING:
    from openvocab import Pipeline
    from openvocab.ui.web.context import Context

__all__ = ["FORMATS", "Order", "Task", "Work"]

Task = Literal["annotate", "tag"]

FORMATS: Mapping[str, tuple[str, str]] = {
    "parquet": ("Parquet run folder: everything", "run"),
    "coco": ("COCO JSON: boxes, masks, tags", "coco.json"),
    "yolo": ("YOLO: boxes", ""),
    "yolo-seg": ("YOLO: outlines", ""),
    "voc": ("Pascal VOC: boxes", ""),
    "labelme": ("LabelMe", ""),
    "cvat": ("CVAT for images", "annotations.xml"),
    "label-studio": ("Label Studio", ""),
    "instance-masks": ("Mask PNGs: a value a detection", ""),
    "semantic-masks": ("Mask PNGs: a value a label", ""),
    "csv": ("CSV: a line a tag or detection", "table.csv"),
    "jsonl": ("JSON lines: a line an image", "rows.jsonl"),
}
"""Name of a format -> what the page calls it, and where in the zip it lies."""

_IMAGES = "images"
_LOOK = 0.25
_THREADS = 2


@dataclass(frozen=True, slots=True)
class Order:
    """What a visitor asks for.

    uploads   paths of the uploaded files.
    words     labels as typed; template as typed.
    task      "annotate" finds, boxes and cuts out; "tag" scores whole images.
    draw      also put images with the detections drawn on them into the zip.
    """

    uploads: tuple[str, ...]
    words: str
    template: str = ""
    task: Task = "annotate"
    format: str = "parquet"
    preset: str = ""
    draw: bool = False

    def __post_init__(self) -> None:
        """Check the choices.

        Raises:
            BadInput: the task is none of those there are.
            UnknownName: there is no format of that name.
        """
        if self.task not in get_args(Task):
            raise BadInput(f"a batch can {' or '.join(get_args(Task))}, got {self.task!r}; choose one of them")
        if self.format not in FORMATS:
            raise unknown("format", self.format, FORMATS)


@dataclass(slots=True)
class _Count:
    """What is known of a running batch; one thread writes it."""

    total: int = 0
    ok: int = 0
    errors: list[dict[str, str]] = field(default_factory=list)
    stopped: bool = False
    file: Path | None = None


class Work:
    """One batch in a thread of its own, which deletes what it unpacked and wrote, however it ends."""

    def __init__(self, context: Context, order: Order, target: str | Path) -> None:
        """Begin.

        Args:
            target: the folder in which the zip is left, in a folder whose name cannot be guessed.
        """
        self._context, self._order, self._target = context, order, Path(target)
        self._count, self._stop, self._began = _Count(), threading.Event(), time.monotonic()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._guarded, name="openvocab-batch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the images in hand; what is done by then is packed."""
        self._stop.set()

    @property
    def file(self) -> str | None:
        """The zip, once there is one."""
        return None if self._count.file is None else str(self._count.file)

    def steps(self) -> Iterator[dict[str, Any]]:
        """Yield how far it is, as plain JSON, until it is done; ask it to stop where the caller lets go before.

        Raises:
            OpenVocabError: what keeps the whole batch from being done.
        """
        try:
            while self._thread.is_alive():
                yield self._told("running")
                self._thread.join(timeout=_LOOK)
        finally:
            self._stop.set()
        if self._error is not None:
            raise self._error
        yield self._told("stopped" if self._count.stopped else "done")

    def _told(self, status: str) -> dict[str, Any]:
        count = self._count
        errors = list(count.errors)
        return {
            "status": status,
            "total": count.total,
            "done": count.ok + len(errors),
            "ok": count.ok,
            "errors": errors,
            "seconds": round(time.monotonic() - self._began, 2),
        }

    def _guarded(self) -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="openvocab-batch-", ignore_cleanup_errors=True) as folder:
                self._run(Path(folder))
        except Exception as error:  # raised where the steps are read
            self._error = error

    def _run(self, folder: Path) -> None:
        order, models = self._order, self._context.models
        labels, template = labels_of(order.words), template_of(order.template)
        inputs = gather(order.uploads, folder, self._context.limits)
        self._count.total = len(inputs)
        pipe = _stages(models.sharing(order.preset or None), order.task)
        summary = pipe.run_to(
            folder / "run",
            inputs,
            pipe.vocabulary(labels, template),
            draw=order.draw,
            max_pixels=self._context.limits.pixels,
            workers=_THREADS,
            stop=self._stop.is_set,
            on_answer=self._answered,
        )
        self._count.stopped = summary.stopped
        self._count.file = self._packed(folder)

    def _answered(self, answer: Any, skipped: int) -> None:
        if answer.error is None:
            self._count.ok += 1
        else:
            self._count.errors.append(
                {"name": answer.item.id, "kind": str(answer.kind), "error": sentence(answer.error)}
            )

    def _packed(self, folder: Path) -> Path:
        """Write the zip and return its place."""
        run, place = folder / "run", FORMATS[self._order.format][1]
        made = run
        if self._order.format != "parquet":
            made = folder / "out" / (place or "files")
            made.parent.mkdir()
            openvocab.export(openvocab.read_run(run), made, self._order.format)
        target = self._target / secrets.token_urlsafe(16)
        target.mkdir(parents=True)
        with zipfile.ZipFile(target / f"openvocab-{self._order.format}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file in _files(made):
                archive.write(file, Path(place) / file.relative_to(made))
            if made is not run and self._order.draw:
                for file in _files(run / _IMAGES):
                    archive.write(file, Path(_IMAGES) / file.name)
        return Path(str(archive.filename))


def _stages(pipe: Pipeline, task: Task) -> Pipeline:
    """Return the stages of a task.

    Raises:
        BadInput: the models have no tagger.
    """
    if task == "annotate":
        return pipe
    if pipe.tagger is None:
        raise BadInput("these models have no tagger; choose the task that finds and boxes")
    return openvocab.Pipeline(pipe.tagger, None, None, pipe.settings)


def _files(place: Path) -> list[Path]:
    """Return a file, or the files of a folder but those of its writer, such as its lock."""
    if place.is_file():
        return [place]
    return sorted(each for each in place.rglob("*") if each.is_file() and not each.name.startswith("."))
