"""`tag --out` and `annotate`: fill a run folder, with progress, signal handling and a summary."""

from __future__ import annotations

import os
import signal
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import openvocab
from openvocab.errors import BadInput, BadOutput, ImageError, OutOfMemory, counted
from openvocab.ui.cli.output import complain, detections_of, presence_of, say, say_json

if TYPE_CHECKING:
    from openvocab import Loader, PromptSet, Summary
    from openvocab.batch.engine import Answer

__all__ = ["Failures", "Stop", "fill_run", "listening"]

Runner = Callable[..., "Summary"]

OK, SOME_FAILED = 0, 1
_MAX_MESSAGES = 20
_CHANGED = {
    "replaced": "replaced (--on-change redo answers them again)",
    "removed": "removed (their rows are kept)",
    "added": "added",
    "elsewhere": "not among the inputs named (their rows are kept)",
}
_PASSED_ON = (
    "overwrite",
    "strict",
    "allow_urls",
    "workers",
    "isolate",
    "features",
    "decode_size",
    "part_rows",
    "cache",
    "retry_errors",
    "on_change",
    "frames",
)
_DECIDING = ("command", "device", "devices", "dtype", "features", "decode_size", "frames")
"""Options, besides models, labels, prompts and settings, that rows may depend on."""


class Failures:
    """Prints and counts the errors of images that cannot be read, and reports their rows."""

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        self.count = 0
        self._tell = tell

    def __call__(self, source: str | Path, error: Exception) -> None:
        """Count the error, print it and report its row."""
        from openvocab.batch.engine import kind_of

        self.count += 1
        complain(str(error))
        self._tell({"source": str(source), "status": "error", "error_kind": kind_of(error), "error": str(error)})

    @property
    def status(self) -> int:
        """The exit status."""
        return SOME_FAILED if self.count else OK


class Stop:
    """Records a signal that stops the run.

    Attributes:
        number: The signal, None before one arrived.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    def __call__(self) -> bool:
        """Whether the run must stop."""
        return self.number is not None

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Stop the run after the current batch; a second signal kills the process."""
        if self.number is None:
            self.number = number
            os.write(2, b"\nopenvocab: finishing the current batch; press Ctrl-C again to stop at once\n")
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    @property
    def status(self) -> int:
        """Exit status of a process killed by the signal: 130 or 143."""
        return 128 + (self.number or 0)


@contextmanager
def listening() -> Iterator[Stop]:
    """Convert SIGINT and SIGTERM to a Stop; outside the main thread signals are unchanged."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop.handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def fill_run(args: Namespace, loader: Loader, prompts: PromptSet, *, draw: bool = False, line: bool = False) -> int:
    """Write what is missing of a run folder, and return the exit status; models are loaded where something is.

    Args:
        loader: what loads them, here or in workers.
        draw: also write the annotated images.
        line: print a line for each image, unless JSON is asked for.

    Raises:
        BadInput: --devices, --device and --engine do not go together.
    """
    from openvocab.batch.unchanged import nothing_to_do

    given = {name: getattr(args, name, None) for name in _PASSED_ON}
    options = {name: value for name, value in given.items() if value is not None}
    options |= {"draw": draw, "command": _command(args, loader, prompts)}
    workers = _workers(args, loader)
    summary = nothing_to_do(args.out, args.paths, openvocab.RunOptions(**options))
    if summary is not None:
        return _report(summary, args, draw)
    run = _in_workers(args, workers, prompts) if workers else _in_process(args, loader, prompts)
    with listening() as stop, _Progress(args, line and not args.json) as tell:
        try:
            summary = run(stop=stop, on_answer=tell, **options)
        except (ImageError, BadOutput, OutOfMemory) as error:
            if not args.strict:
                raise
            complain(f"{error}; stopped, since --strict is given")
            return SOME_FAILED
    status = _report(summary, args, draw)
    return stop.status if stop() else status


def _command(args: Namespace, loader: Loader, prompts: PromptSet) -> dict[str, Any] | None:
    """Return what rows depend on, as far as the command says it."""
    from openvocab.batch.unchanged import command_record

    models = {name: getattr(loader, name) for name in ("preset", "tagger", "detector", "segmenter")}
    options = {name: getattr(args, name, None) for name in _DECIDING}
    given = loader.settings.items()
    settings = {name: value for name, value in given if value is not None and "batch_size" not in name}
    words = {**_labels_of(args.labels), "templates": prompts.templates}
    return command_record(models, **options, **words, settings=settings)


def _labels_of(labels: Any) -> dict[str, Any]:
    """Return what a run.json says of the labels."""
    if isinstance(labels, openvocab.Prompt):
        return {"prompt": labels.digest}
    found = openvocab.read_label_set(labels)
    return {"labels": found.labels} | ({} if found.is_plain else {"label_set": found.digest})


def _workers(args: Namespace, loader: Loader) -> openvocab.Workers | None:
    """Return the worker pool of --devices, or None."""
    if not args.devices:
        if args.engine == "ray":
            raise BadInput("--engine ray needs --devices; name the actors, for example --devices 'cuda*4'")
        return None
    if args.device:
        raise BadInput("--device and --devices cannot be combined; leave one out")
    return openvocab.Workers(loader, openvocab.read_devices(args.devices), args.engine)


def _in_workers(args: Namespace, workers: openvocab.Workers, prompts: PromptSet) -> Runner:
    return partial(workers.run_to, args.out, args.paths, args.labels, template=prompts)


def _in_process(args: Namespace, loader: Loader, prompts: PromptSet) -> Runner:
    pipe = loader(args.device)
    return partial(pipe.run_to, args.out, args.paths, pipe.vocabulary(args.labels, prompts, cache=args.cache))


def _report(summary: Summary, args: Namespace, draw: bool) -> int:
    """Print the summary of a run and return the exit status."""
    if args.json:
        say_json({**asdict(summary), "rows": summary.rows})
    else:
        _say_summary(summary, draw)
    return SOME_FAILED if summary.errors or summary.errors_kept else OK


def _say_summary(summary: Summary, draw: bool) -> None:
    if not summary.rows and not summary.stopped:
        say(f"nothing to do: {counted(summary.skipped, 'image has', 'images have')} a row in {summary.folder}")
    else:
        new = f"{counted(summary.rows, 'row')} written to {summary.folder}" + " (images in images/)" * draw
        say(f"{new}, {summary.skipped} were there before; {counted(sum(summary.errors.values()), 'error')}")
    if summary.changed:
        said = ", ".join(f"{count} {_CHANGED[name]}" for name, count in summary.changed.items())
        say(f"since these rows were written: {said}")
    if summary.stopped:
        say("not finished; rerun the command to resume")
    if summary.errors_kept:
        say(counted(summary.errors_kept, "of the rows from before is an error", "of the rows from before are errors"))
    for stage, size in summary.batch_sizes.items():
        say(f"memory was short: the {stage} went down to batches of {size}")


class _Progress:
    """Reports each result: a progress bar and errors on stderr, and optionally one line per image."""

    def __init__(self, args: Namespace, line: bool) -> None:
        from tqdm import tqdm

        self._line, self._errors, self._ok, self._notes = line, 0, 0, 0
        self._bar: Any = tqdm(unit=" images", leave=False, disable=None)
        if not self._bar.disable and args.frames == "first":
            threading.Thread(target=self._count, args=(args.paths, args.allow_urls), daemon=True).start()

    def __enter__(self) -> Callable[[Answer, int], None]:
        return self._tell

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def _tell(self, answer: Answer, skipped: int) -> None:
        if answer.error is None:
            self._ok += 1
            if self._line:
                say(f"{answer.item.id}: {detections_of(answer)}{presence_of(answer)}")
            self._note(answer)
        else:
            self._complain(answer.error)
        if not self._bar.disable:
            self._bar.initial = skipped
            self._bar.set_postfix(ok=self._ok, errors=self._errors, refresh=False)
            self._bar.update(skipped + self._ok + self._errors - self._bar.n)

    def _note(self, answer: Answer) -> None:
        """Print on stderr why nothing was found, for the first such images."""
        self._notes += bool(answer.notes)
        if answer.notes and self._notes <= _MAX_MESSAGES:
            complain(f"{answer.item.id}: {'; '.join(answer.notes)}")
        if answer.notes and self._notes == _MAX_MESSAGES + 1:
            complain("there are more images with nothing found; the rows say why")

    def _complain(self, error: Exception) -> None:
        self._errors += 1
        if self._errors <= _MAX_MESSAGES:
            complain(str(error))
        if self._errors == _MAX_MESSAGES + 1:
            complain("there are more errors; each has its row")

    def _count(self, paths: Sequence[str], allow_urls: bool) -> None:
        """Count the images while the first are processed; shards are not counted, since that would read them."""
        from openvocab.images.sources import SHARDS, items

        if not any("{" in path or path.lower().endswith(SHARDS) for path in paths):
            self._bar.total = sum(1 for _ in items(paths, allow_urls=allow_urls, skip=lambda *_: True))
