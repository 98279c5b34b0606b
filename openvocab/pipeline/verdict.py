"""Verdict: what verification says of one box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from openvocab.errors import BadInput

__all__ = ["VERIFICATION", "Verdict"]

VERIFICATION = "verification"
"""The entry of Detections.data with the Verdict on each box."""

Kind = Literal["unverified", "verified", "relabeled", "unlikely", "looks_like", "same_object"]
_TEXTS: dict[Kind, str] = {
    "unverified": "",
    "verified": "verified",
    "relabeled": "relabeled: was {} {:.2f}",
    "unlikely": "rejected: {} {:.2f}",
    "looks_like": "rejected: looks like {} {:.2f}",
    "same_object": "rejected: same object as {} {:.2f}",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verification says of one box; str() says it in words, empty for a box that was not verified.

    Attributes:
        kind: "verified": the box keeps its label. "relabeled": it has a likelier one. It is rejected as "unlikely" to
            have its label, as it "looks_like" another one, or as the "same_object" as a likelier box. Else
            "unverified".
        label: The label that the probability is of: the box's own; that before it was relabeled; the one that it looks
            like; that of the likelier box.
        probability: That the box has this label, or the likelier box; None where it is not known.
    """

    kind: Kind = "unverified"
    label: str = ""
    probability: float | None = None

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            BadInput: no kind of that name, a label that is no text, or a probability outside 0 to 1.
        """
        given = self.probability
        if self.kind not in _TEXTS or not isinstance(self.label, str) or (given is not None and not 0 <= given <= 1):
            raise BadInput(f"{self.kind!r}, {self.label!r}, {given!r} is no verdict; kinds: {', '.join(_TEXTS)}")

    def __str__(self) -> str:
        return _TEXTS[self.kind].format(self.label, self.probability)

    @property
    def looks_like(self) -> str | None:
        """The other label that a rejected box looks like; None where there is none."""
        return self.label if self.kind == "looks_like" else None

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the verdict of str(), which rows of an earlier version have; the probability has two digits."""
        kind, start = next((kind, start) for kind, start in _STARTS if text.startswith(start))
        label, _, number = text.removeprefix(start).rpartition(" ")
        return cls(kind, label, float(number) if number else None)


_STARTS = [(kind, text.partition("{")[0]) for kind, text in reversed(_TEXTS.items())]
