"""The presets of a page: each is loaded once, one model call runs at a time, and calls are counted."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import openvocab
from openvocab.errors import unknown

if TYPE_CHECKING:
    from openvocab import Pipeline

__all__ = ["Models"]

_COUNTED = frozenset(
    (
        "detect",
        "detect_masks",
        "encode",
        "encode_labels",
        "encode_images",
        "masks",
        "score_boxes",
        "prompt",
        "score",
        "scores",
    )
)
"""Methods of a stage that run a model."""


class Models:
    """Presets that are loaded on first use.

    All models run in one thread, since torch keeps memory for each calling thread and a server has dozens of them.

    Attributes:
        names: Names of the available presets; the first is the default.
        calls: "stage.method" -> number of calls since the start.
    """

    def __init__(
        self, names: tuple[str, ...], device: str | None = None, dtype: str | None = None, load: Any = None
    ) -> None:
        """Check the names; no preset is loaded.

        Args:
            names: Names of the presets; the first is the default.
            device: See openvocab.load.
            dtype: See openvocab.load.
            load: Function that loads a preset, openvocab.load by default.

        Raises:
            UnknownName: there is no preset of one of these names.
        """
        known = [preset.name for preset in openvocab.presets()]
        for name in names:
            if name not in known:
                raise unknown("preset", name, known)
        self.names, self.calls = names, Counter[str]()
        self._load: Callable[..., Pipeline] = load or openvocab.load
        self._options = {"device": device, "dtype": dtype}
        self._pipes: dict[str, Pipeline] = {}
        self._lock = threading.RLock()
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
        with self._lock:
            if wanted not in self._pipes:
                self._pipes[wanted] = self._counted(self._load(wanted, **self._options))
            yield self._pipes[wanted]

    def sharing(self, name: str | None = None) -> Pipeline:
        """Return a preset's pipeline for a long job without a lock; each of its model calls is locked on its own.

        Raises:
            UnknownName, BadWeights: see using.
        """
        with self.using(name) as pipe:
            return pipe

    def _counted(self, pipe: Pipeline) -> Pipeline:
        def of(stage: Any, name: str) -> Any:
            return None if stage is None else _CountedStage(stage, name, self.calls, self._lock, self._thread)

        stages = of(pipe.tagger, "tagger"), of(pipe.detector, "detector"), of(pipe.segmenter, "segmenter")
        return openvocab.Pipeline(*stages, pipe.settings)


class _CountedStage:
    """A stage whose model calls are counted and run one at a time in the models' thread.

    Every public member of the stage is an attribute, since isinstance with a protocol looks members up by name.
    """

    def __init__(self, stage: Any, name: str, calls: Counter[str], lock: Any, thread: ThreadPoolExecutor) -> None:
        self._name, self._calls, self._lock, self._thread = name, calls, lock, thread
        for each in (each for each in dir(stage) if not each.startswith("_")):
            member = getattr(stage, each)
            setattr(self, each, self._counted(each, member) if each in _COUNTED else member)

    def _counted(self, method: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                self._calls[f"{self._name}.{method}"] += 1
                return self._thread.submit(call, *args, **kwargs).result()

        return counted
