"""The presets that a page offers: loaded once each, one call at a time, every call counted."""

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
"""Methods of a stage that run a model; reading raw scores again is none of them."""


class Models:
    """Loads presets when they are first asked for, and keeps them.

    Models run in one thread of their own, whoever asks: torch keeps memory for each thread that calls it, and a server
    has dozens that come and go.

    calls  "stage.method" -> how often it was called since the start.
    """

    def __init__(
        self, names: tuple[str, ...], device: str | None = None, dtype: str | None = None, load: Any = None
    ) -> None:
        """Set up; nothing is loaded yet.

        Args:
            names: presets that may be asked for, the first of them the one to begin with.
            load: what loads a preset, openvocab.load where not given.

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
        """Names of the presets that are loaded."""
        return tuple(self._pipes)

    @contextmanager
    def using(self, name: str | None = None) -> Iterator[Pipeline]:
        """Give a preset's pipeline to one caller at a time, loading it first where that has not been done.

        Raises:
            UnknownName: the page does not offer this preset.
            BadWeights: its weights are absent or not the right ones.
        """
        wanted = name or self.names[0]
        if wanted not in self.names:
            raise unknown("preset", wanted, self.names)
        with self._lock:
            if wanted not in self._pipes:
                self._pipes[wanted] = self._counted(self._load(wanted, **self._options))
            yield self._pipes[wanted]

    def sharing(self, name: str | None = None) -> Pipeline:
        """Return a preset's pipeline for long work: each of its model calls waits its turn among those of others.

        Raises:
            UnknownName, BadWeights: as using.
        """
        with self.using(name) as pipe:
            return pipe

    def _counted(self, pipe: Pipeline) -> Pipeline:
        def of(stage: Any, name: str) -> Any:
            return None if stage is None else _Counted(stage, name, self.calls, self._lock, self._thread)

        stages = of(pipe.tagger, "tagger"), of(pipe.detector, "detector"), of(pipe.segmenter, "segmenter")
        return openvocab.Pipeline(*stages, pipe.settings)


class _Counted:
    """A stage whose model calls are counted and wait their turn; all else is the stage's own.

    Its class has every public name of the stage's class, since isinstance looks protocols' methods up there.
    """

    def __new__(cls, stage: Any, *rest: Any) -> _Counted:
        """Make an object of a class that is made for this stage."""
        names = [each for each in dir(type(stage)) if not each.startswith("_")]
        return object.__new__(
            type("Counted", (cls,), {each: property(partial(_Counted._get, name=each)) for each in names})
        )

    def __init__(self, stage: Any, name: str, calls: Counter[str], turn: Any, thread: ThreadPoolExecutor) -> None:
        self._stage, self._name, self._calls, self._turn, self._thread = stage, name, calls, turn, thread

    def __getattr__(self, name: str) -> Any:
        return self._get(name)

    def _get(self, name: str) -> Any:
        found = getattr(self._stage, name)
        if name not in _COUNTED:
            return found

        def counted(*args: Any, **kwargs: Any) -> Any:
            with self._turn:
                self._calls[f"{self._name}.{name}"] += 1
                return self._thread.submit(found, *args, **kwargs).result()

        return counted
