"""A batch job of the page: uploads are run through the batch engine and exported as one zip file."""

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
from openvocab.ui.web.error_messages import error_message
from openvocab.ui.web.saved_prompts.page_prompt import read_upload as read_prompt_file
from openvocab.ui.web.text_inputs import parse_template, parse_vocabulary
from openvocab.ui.web.uploads.collect import collect_images

if TYPE_CHECKING:
    from openvocab import LabelSet, Pipeline, Prompt
    from openvocab.ui.web.context import Context

__all__ = ["FORMATS", "BatchJob", "BatchRequest", "Task", "files_in"]

Task = Literal["annotate", "tag"]

FORMATS: Mapping[str, str] = {
    "parquet": "run",
    "coco": "coco.json",
    "yolo": "",
    "yolo-seg": "",
    "voc": "",
    "labelme": "",
    "cvat": "annotations.xml",
    "label-studio": "",
    "instance-masks": "",
    "semantic-masks": "",
    "csv": "table.csv",
    "jsonl": "rows.jsonl",
}
"""Format -> its path in the zip."""

_IMAGES = "images"
_PROGRESS_INTERVAL = 0.25
_THREADS = 2


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """Input of a batch.

    Attributes:
        uploads: Paths of the uploaded files.
        labels: Labels as typed.
        template: Templates as typed.
        task: "annotate" finds boxes and masks, "tag" scores whole images.
        format: One of FORMATS.
        preset: Name of the models' preset, the page's default if empty.
        draw: Also write annotated images to the zip.
        prompt: Path of an uploaded prompt file, in place of labels; empty without one.
    """

    uploads: tuple[str, ...]
    labels: str
    template: str = ""
    task: Task = "annotate"
    format: str = "parquet"
    preset: str = ""
    draw: bool = False
    prompt: str = ""

    def __post_init__(self) -> None:
        """Validate the choices.

        Raises:
            BadInput: there is no such task, or there are labels and a prompt file.
            UnknownName: there is no format of this name.
        """
        if self.task not in get_args(Task):
            raise BadInput(f"a batch can {' or '.join(get_args(Task))}, got {self.task!r}; choose one of them")
        if self.format not in FORMATS:
            raise unknown("format", self.format, FORMATS)
        if self.prompt and self.labels.strip():
            raise BadInput("give either labels or a prompt file; clear one of them")


@dataclass(slots=True)
class _State:
    """State of a running batch, written by its thread only."""

    total: int = 0
    ok: int = 0
    errors: list[dict[str, str]] = field(default_factory=list)
    stopped: bool = False
    file: Path | None = None


class BatchJob:
    """One batch in its own thread; temporary files are always deleted at its end."""

    def __init__(self, context: Context, request: BatchRequest, folder: str | Path) -> None:
        """Start the thread.

        Args:
            context: State and limits of the page.
            request: Input of the batch.
            folder: Folder of the zip; the zip is written to a subfolder with a random name.
        """
        self._context, self._request, self._folder = context, request, Path(folder)
        self._state, self._stop, self._start = _State(), threading.Event(), time.monotonic()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._main, name="openvocab-batch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the pending images; the finished ones are written to the zip."""
        self._stop.set()

    @property
    def file(self) -> str | None:
        """Path of the zip, None until it is written."""
        return None if self._state.file is None else str(self._state.file)

    def progress(self) -> Iterator[dict[str, Any]]:
        """Yield the progress as plain JSON until the batch ends; closing the iterator stops the batch.

        Raises:
            OpenVocabError: the whole batch failed.
        """
        try:
            while self._thread.is_alive():
                yield self._snapshot("running")
                self._thread.join(timeout=_PROGRESS_INTERVAL)
        finally:
            self._stop.set()
        if self._error is not None:
            raise self._error
        yield self._snapshot("stopped" if self._state.stopped else "done")

    def _snapshot(self, status: str) -> dict[str, Any]:
        state = self._state
        errors = list(state.errors)
        return {
            "status": status,
            "total": state.total,
            "done": state.ok + len(errors),
            "ok": state.ok,
            "errors": errors,
            "seconds": round(time.monotonic() - self._start, 2),
        }

    def _main(self) -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="openvocab-batch-", ignore_cleanup_errors=True) as folder:
                self._run(Path(folder))
        except Exception as error:  # raised by progress
            self._error = error

    def _run(self, folder: Path) -> None:
        request, models = self._request, self._context.models
        limits, template = self._context.limits, parse_template(request.template)
        wanted = _wanted(request, limits.pixels)
        inputs = collect_images(request.uploads, folder, limits)
        self._state.total = len(inputs)
        pipe = _pipeline(models.sharing(request.preset or None), request.task)
        summary = pipe.run_to(
            folder / "run",
            inputs,
            pipe.vocabulary(wanted, template),
            draw=request.draw,
            max_pixels=limits.pixels,
            workers=_THREADS,
            stop=self._stop.is_set,
            on_answer=self._on_answer,
        )
        self._state.stopped = summary.stopped
        self._state.file = self._write_zip(folder)

    def _on_answer(self, answer: Any, skipped: int) -> None:
        if answer.error is None:
            self._state.ok += 1
        else:
            self._state.errors.append(
                {"name": answer.item.id, "kind": str(answer.kind), "error": error_message(answer.error)}
            )

    def _write_zip(self, folder: Path) -> Path:
        """Write the zip and return its path."""
        run, path = folder / "run", FORMATS[self._request.format]
        exported = run
        if self._request.format != "parquet":
            exported = folder / "out" / (path or "files")
            exported.parent.mkdir()
            openvocab.export(openvocab.read_run(run), exported, self._request.format)
        target = self._folder / secrets.token_urlsafe(16)
        target.mkdir(parents=True)
        with zipfile.ZipFile(target / f"openvocab-{self._request.format}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files_in(exported):
                archive.write(file, Path(path) / file.relative_to(exported))
            if exported is not run and self._request.draw:
                for file in files_in(run / _IMAGES):
                    archive.write(file, Path(_IMAGES) / file.name)
        return Path(str(archive.filename))


def _wanted(request: BatchRequest, pixels: int) -> tuple[str, ...] | LabelSet | Prompt:
    """Return what to look for.

    Raises:
        BadInput: the labels or the prompt file cannot be used.
    """
    return read_prompt_file([request.prompt], pixels) if request.prompt else parse_vocabulary(request.labels)


def _pipeline(pipe: Pipeline, task: Task) -> Pipeline:
    """Return the pipeline of a task.

    Raises:
        BadInput: the pipeline has no tagger.
    """
    if task == "annotate":
        return pipe
    if pipe.tagger is None:
        raise BadInput("these models have no tagger; choose the task 'Boxes and masks'")
    return openvocab.Pipeline(pipe.tagger, None, None, pipe.settings)


def files_in(path: Path) -> list[Path]:
    """Return a file, or the files of a folder without hidden ones such as its lock."""
    if path.is_file():
        return [path]
    return sorted(each for each in path.rglob("*") if each.is_file() and not each.name.startswith("."))
