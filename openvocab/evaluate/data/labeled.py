"""A set of images with the labels that they are known to have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from openvocab.errors import BadInput
from openvocab.images.items import Item

__all__ = ["LabeledImage", "LabeledSet", "map_labels"]


@dataclass(frozen=True, slots=True)
class LabeledImage:
    """One image and the indices of its labels, in ascending order."""

    item: Item
    labels: tuple[int, ...]


@dataclass(frozen=True, eq=False, slots=True)
class LabeledSet:
    """Images with labels, read as a stream.

    source       the path as given.
    labels       C labels; published sets may hold one twice.
    multi_label  whether an image may have none or several.
    images     call it to begin: it yields the images, in the same order every time.
    templates    the sentences that the set brings with it, each with {label}; None where it brings none.
    label_source    where the labels were looked for, as a message says it.
    """

    source: str
    labels: tuple[str, ...]
    multi_label: bool
    images: Callable[[], Iterator[LabeledImage]]
    templates: tuple[str, ...] | None = None
    label_source: str = "its annotations"

    def with_labels(
        self, vocabulary: Sequence[str] | None = None, names: Mapping[str, str] | None = None
    ) -> LabeledSet:
        """Return the set with its labels under other names and among other labels.

        Args:
            vocabulary: the labels to choose from; every label of an image must be among them. None keeps the set's.
            names: label of the set -> what to call it; several may get one name, and those left out keep theirs.

        Raises:
            BadInput: names has a label that is not in the set, or the vocabulary lacks one; the message says which.
        """
        wanted, place = map_labels(self.source, self.labels, vocabulary, names)
        return replace(self, labels=wanted, images=lambda: _moved(self.images(), place))


def map_labels(
    source: str, labels: Sequence[str], vocabulary: Sequence[str] | None, names: Mapping[str, str] | None
) -> tuple[tuple[str, ...], list[int]]:
    """Return the labels that are chosen among, and the place among them of each label of the data.

    Args:
        source: what the data are called in messages.
        labels: C labels of the data.
        vocabulary, names: see LabeledSet.with_labels.

    Raises:
        BadInput: names has a label that the data have not, or the vocabulary lacks one; the message says which.
    """
    names = names or {}
    _refuse_unknown(names, labels)
    called = tuple(names.get(label, label) for label in labels)
    wanted = tuple(dict.fromkeys(called)) if vocabulary is None and names else tuple(vocabulary or called)
    if wanted == called:
        return wanted, list(range(len(called)))
    lacking = [label for label in dict.fromkeys(called) if label not in wanted]
    if lacking:
        near = get_close_matches(lacking[0], wanted, n=1)
        hint = f" (is it {near[0]!r}?)" if near else ""
        raise BadInput(
            f"{source!r} has {len(lacking)} labels that are not among those given, the first is {lacking[0]!r}"
            f"{hint}; add it to the labels, or give its name with --class-map"
        )
    return wanted, [wanted.index(label) for label in called]


def _moved(images: Iterator[LabeledImage], place: Sequence[int]) -> Iterator[LabeledImage]:
    for one in images:
        yield LabeledImage(one.item, tuple(sorted({place[label] for label in one.labels})))


def _refuse_unknown(names: Mapping[str, str], labels: Sequence[str]) -> None:
    """Raise BadInput for a name of a label that is not in the set."""
    for name in names:
        if name not in labels:
            near = get_close_matches(name, labels, n=1) or list(labels[:1])
            raise BadInput(f"the class map names {name!r}, which is no label of the data; is it {near[0]!r}?")
