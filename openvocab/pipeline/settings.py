"""The one place where a default of the chain is written; library, command line and docs read it from here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from inspect import Parameter, signature
from typing import Any, Literal

from openvocab.errors import BadInput
from openvocab.prompts.labels import check_threshold

__all__ = ["Settings"]

SOFTMAX_TAG, SIGMOID_TAG = 0.05, 0.3
"""Tag thresholds where none is given: scores that sum to 1 over the vocabulary, and scores that stand alone."""


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True)
class Settings:
    """Thresholds and limits of the chain; scores and IoUs lie in 0 to 1."""

    tag_threshold: float | None = _option(
        None,
        f"drop tags that score less; where not given, {SOFTMAX_TAG} for softmax and {SIGMOID_TAG} for sigmoid models",
    )
    max_tags: int = _option(20, "keep at most this many tags a picture")
    windows: int = _option(0, "also score an N x N grid of overlapping half-size windows; 0 scores the picture alone")
    box_threshold: float = _option(0.2, "drop boxes that score less")
    nms_iou: float = _option(0.5, "of two boxes of one label that overlap more, keep the better")
    duplicates: Literal["best", "keep"] = _option(
        "best", "the same object under two labels: keep the best label, or keep both"
    )
    duplicate_iou: float = _option(0.7, "boxes of two labels are the same object when they overlap more")
    max_boxes: int = _option(100, "keep at most this many boxes a picture")
    mask_threshold: float = _option(0.0, "drop regions whose mask scores less")
    batch_size: int = _option(32, "pictures that the tagger sees at once")

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            BadInput: a threshold outside 0 to 1, a count below its least value, or an unknown policy.
        """
        for name in ("box_threshold", "nms_iou", "duplicate_iou", "mask_threshold"):
            check_threshold(name, getattr(self, name))
        if self.tag_threshold is not None:
            check_threshold("tag_threshold", self.tag_threshold)
        for name, least in (("max_tags", 1), ("max_boxes", 1), ("batch_size", 1), ("windows", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise BadInput(f"{name} must be a whole number of at least {least}, got {value!r}")
        if self.duplicates not in ("best", "keep"):
            raise BadInput(f"duplicates must be 'best' or 'keep', got {self.duplicates!r}")

    def changed_in(
        self, call: Callable[..., Any], values: Mapping[str, Any], options: Iterable[str] | None = None
    ) -> Settings:
        """Return these settings with the values that a call was given besides its own options; see changed.

        Args:
            call: the function that was called.
            values: keyword -> value, without the call's own options.
            options: names of the call's own options; its keyword-only parameters where not given.

        Raises:
            BadInput: a name is neither an option of the call nor a setting, or a value does not fit.
        """
        known = [each.name for each in fields(self)]
        for name in values.keys() - known:
            given = signature(call).parameters.values()
            own = [each.name for each in given if each.kind is Parameter.KEYWORD_ONLY] + list(options or ())
            near = get_close_matches(name, [*own, *known], n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            title = "pipe" if call.__name__ == "__call__" else call.__name__
            listed = f"options: {', '.join(own)}; settings: {', '.join(sorted(known))}"
            raise BadInput(f"{title}() has no option or setting named {name!r}; {hint}{listed}")
        return self.changed(**values)

    def changed(self, **values: Any) -> Settings:
        """Return these settings with some values changed; None leaves a value as it is.

        Raises:
            BadInput: no setting of that name, or a value that does not fit it.
        """
        known = {each.name for each in fields(self)}
        for name in values.keys() - known:
            raise BadInput(f"no setting named {name!r}; known: {', '.join(sorted(known))}")
        return replace(self, **{name: value for name, value in values.items() if value is not None})

    def least_tag(self, *, independent: bool) -> float:
        """Return the score from which a label is a tag; independent says whether each score stands alone."""
        if self.tag_threshold is not None:
            return self.tag_threshold
        return SIGMOID_TAG if independent else SOFTMAX_TAG

    def given(self) -> dict[str, Any]:
        """Return setting -> value as a RunRecord keeps them: those that are None are left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}
