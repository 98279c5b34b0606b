"""Data sets of images with labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from openvocab.errors import BadInput, counted
from openvocab.evaluate.data.queries import QuerySet, names_of, query_set
from openvocab.images.items import Item

__all__ = ["LabeledImage", "LabeledSet", "map_labels"]


@dataclass(frozen=True, slots=True)
class LabeledImage:
    """One image with its labels.

    Attributes:
        item: The image.
        labels: Indices of its labels, in ascending order.
    """

    item: Item
    labels: tuple[int, ...]


@dataclass(frozen=True, eq=False, slots=True)
class LabeledSet:
    """Images with labels, read as a stream.

    Attributes:
        source: The path as given.
        labels: C labels; published data sets may have one twice.
        multi_label: Whether an image may have no label or several.
        images: Function that returns an iterator over the images, in the same order every time.
        templates: The data set's own templates, each with {label}; None if it has none.
        label_source: Where labels were read from, for messages.
        queries: What models are asked for where it says more than the labels do.
    """

    source: str
    labels: tuple[str, ...]
    multi_label: bool
    images: Callable[[], Iterator[LabeledImage]]
    templates: tuple[str, ...] | None = None
    label_source: str = "its annotations"
    queries: QuerySet | None = None

    def with_labels(
        self, vocabulary: Sequence[str] | QuerySet | None = None, names: Mapping[str, str] | None = None
    ) -> LabeledSet:
        """Return the data set with renamed labels and another vocabulary.

        Args:
            vocabulary: Labels to choose from; it must contain every label of the data. None keeps the data's.
                Models are asked for all that a LabelSet or a Prompt holds.
            names: Label of the data -> its new name; several labels may get the same name.

        Raises:
            BadInput: names has a label that the data do not have, or the vocabulary lacks one; the message names it.
        """
        wanted, index_of = map_labels(self.source, self.labels, names_of(vocabulary), names)
        images, queries = lambda: _reindexed(self.images(), index_of), query_set(vocabulary)
        return replace(self, labels=wanted, images=images, queries=queries)


def map_labels(
    source: str, labels: Sequence[str], vocabulary: Sequence[str] | None, names: Mapping[str, str] | None
) -> tuple[tuple[str, ...], list[int]]:
    """Return the vocabulary, and the index in it of each label of the data.

    Args:
        source: Path of the data, for messages.
        labels: C labels of the data.
        vocabulary, names: See LabeledSet.with_labels.

    Raises:
        BadInput: names has a label that the data do not have, or the vocabulary lacks one; the message names it.
    """
    names = names or {}
    _refuse_unknown(names, labels)
    called = tuple(names.get(label, label) for label in labels)
    wanted = tuple(dict.fromkeys(called)) if vocabulary is None and names else tuple(vocabulary or called)
    if wanted == called:
        return wanted, list(range(len(called)))
    missing = [label for label in dict.fromkeys(called) if label not in wanted]
    if missing:
        near = get_close_matches(missing[0], wanted, n=1)
        hint = f" (is it {near[0]!r}?)" if near else ""
        raise BadInput(
            f"{source!r} has {counted(len(missing), 'label that is', 'labels that are')} not among those given, "
            f"the first is {missing[0]!r}{hint}; add it to the labels, or map it to one of them by a class map"
        )
    return wanted, [wanted.index(label) for label in called]


def _reindexed(images: Iterator[LabeledImage], index_of: Sequence[int]) -> Iterator[LabeledImage]:
    for one in images:
        yield LabeledImage(one.item, tuple(sorted({index_of[label] for label in one.labels})))


def _refuse_unknown(names: Mapping[str, str], labels: Sequence[str]) -> None:
    """Raise BadInput if names has a label that the data do not have."""
    for name in names:
        if name not in labels:
            near = get_close_matches(name, labels, n=1)
            hint = f"is it {near[0]!r}?" if near else f"correct it; {labels[0]!r} is one"
            raise BadInput(f"the class map names {name!r}, which is not a label of the data; {hint}")
