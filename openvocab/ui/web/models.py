"""The presets of a page: each is loaded once, one model call runs at a time, and calls are counted."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
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
    """Proxy of a stage that counts its model calls and runs them one at a time in the models' thread.

    Its class has every public name of the stage's class, since isinstance with a protocol looks methods up there.
    """

    def __new__(cls, stage: Any, *rest: Any) -> _CountedStage:
        """Create a proxy of a class derived for this stage."""
        names = [each for each in dir(type(stage)) if not each.startswith("_")]
        return object.__new__(
            type("Counted", (cls,), {each: property(partial(_CountedStage._get, name=each)) for each in names})
        )

    def __init__(self, stage: Any, name: str, calls: Counter[str], lock: Any, thread: ThreadPoolExecutor) -> None:
        self._stage, self._name, self._calls, self._lock, self._thread = stage, name, calls, lock, thread

    def __getattr__(self, name: str) -> Any:
        return self._get(name)

    def _get(self, name: str) -> Any:
        found = getattr(self._stage, name)
        if name not in _COUNTED:
            return found

        def counted(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                self._calls[f"{self._name}.{name}"] += 1
                return self._thread.submit(found, *args, **kwargs).result()

        return counted
