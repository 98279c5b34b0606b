"""The presets of a page: each is loaded once, one model call runs at a time, and calls are counted."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import openvocab
from openvocab.errors import unknown

if TYPE_CHECKING:
    from openvocab import Pipeline

__all__ = ["Models", "Turn"]

_COUNTED = frozenset(
    (
        "detect",
        "detect_masks",
        "encode",
        "encode_labels",
        "encode_prompt",
        "encode_images",
        "masks",
        "score_boxes",
        "prompt",
        "resemblance",
        "score",
        "scores",
        "segment_like",
    )
)
"""Methods of a stage that run a model."""

_MAX_WAIT = 10.0
"""Maximum seconds that one step of a long job waits for visitors."""


class Models:
    """Presets that are loaded on first use.

    All models run in one thread, since torch keeps memory for each calling thread and a server has dozens of them.

    Attributes:
        names: Names of the available presets; the first is the default.
        calls: "stage.method" -> number of calls since the start.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        device: str | None = None,
        dtype: str | None = None,
        load: Any = None,
        segmenter: str | None = None,
    ) -> None:
        """Check the names; no preset is loaded.

        Args:
            names: Names of the presets; the first is the default.
            device: See openvocab.load.
            dtype: See openvocab.load.
            load: Function that loads a preset, openvocab.load by default.
            segmenter: SPEC of a segmenter that takes the place of the presets' own; see openvocab.load.

        Raises:
            UnknownName: there is no preset of one of these names.
        """
        known = [preset.name for preset in openvocab.presets()]
        for name in names:
            if name not in known:
                raise unknown("preset", name, known)
        self.names, self.calls = names, Counter[str]()
        self._load: Callable[..., Pipeline] = load or openvocab.load
        self._options = {"device": device, "dtype": dtype} | ({"segmenter": segmenter} if segmenter else {})
        self._pipes: dict[str, Pipeline] = {}
        self._shared: dict[str, Pipeline] = {}
        self._turn = Turn()
        self._thread = ThreadPoolExecutor(1, "openvocab-models")

    @property
    def loaded(self) -> tuple[str, ...]:
        """Names of the loaded presets."""
        return tuple(self._pipes)

    @contextmanager
    def using(self, name: str | None = None) -> Iterator[Pipeline]:
        """Lock the models and return a preset's pipeline; it is loaded on first use.

        Args:
            name: Name of the preset, the default one if None.

        Raises:
            UnknownName: the page does not offer this preset.
            BadWeights: its weights are missing or have the wrong digest.
        """
        wanted = name or self.names[0]
        if wanted not in self.names:
            raise unknown("preset", wanted, self.names)
        with self._turn.now():
            if wanted not in self._pipes:
                loaded = self._load(wanted, **self._options)
                self._pipes[wanted] = self._counted(loaded, self._turn.now)
                self._shared[wanted] = self._counted(loaded, self._turn.later)
            yield self._pipes[wanted]

    def sharing(self, name: str | None = None) -> Pipeline:
        """Return a preset's pipeline for a long job; each of its model calls waits until no visitor is waiting.

        Raises:
            UnknownName, BadWeights: see using.
        """
        with self.using(name):
            return self._shared[name or self.names[0]]

    def _counted(self, pipe: Pipeline, turn: Callable[[], AbstractContextManager[None]]) -> Pipeline:
        def of(stage: Any, name: str) -> Any:
            return None if stage is None else _CountedStage(stage, name, self.calls, turn, self._thread)

        stages = of(pipe.tagger, "tagger"), of(pipe.detector, "detector"), of(pipe.segmenter, "segmenter")
        return openvocab.Pipeline(*stages, pipe.settings)


class Turn:
    """A reentrant lock with two ranks: who calls now goes before who calls later."""

    def __init__(self) -> None:
        """Create the lock."""
        self._lock, self._change, self._waiting = threading.RLock(), threading.Condition(), 0

    @contextmanager
    def now(self) -> Iterator[None]:
        """Hold the lock for a visitor who waits for the answer."""
        with self._change:
            self._waiting += 1
        with self._lock:
            with self._change:
                self._waiting -= 1
                self._change.notify_all()
            yield

    @contextmanager
    def later(self) -> Iterator[None]:
        """Hold the lock for one step of a long job, after all visitors who wait."""
        with self._change:
            self._change.wait_for(lambda: not self._waiting, timeout=_MAX_WAIT)
        with self._lock:
            yield


class _CountedStage:
    """A stage whose model calls are counted and run one at a time in the models' thread.

    Every public member of the stage is an attribute, since isinstance with a protocol looks members up by name.
    """

    def __init__(
        self,
        stage: Any,
        name: str,
        calls: Counter[str],
        turn: Callable[[], AbstractContextManager[None]],
        thread: ThreadPoolExecutor,
    ) -> None:
        self._name, self._calls, self._turn, self._thread = name, calls, turn, thread
        for each in (each for each in dir(stage) if not each.startswith("_")):
            member = getattr(stage, each)
            setattr(self, each, self._counted(each, member) if each in _COUNTED else member)

    def _counted(self, method: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            with self._turn():
                self._calls[f"{self._name}.{method}"] += 1
                return self._thread.submit(call, *args, **kwargs).result()

        return counted
