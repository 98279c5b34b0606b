"""From the phrases of a LabelSet, which models score in rows, to its labels and negatives, which compete in columns.

A vocabulary of plain labels has a row for each label, and everything here returns what it is given.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from openvocab.pipeline.candidates import Candidates
from openvocab.pipeline.protocols import Tagger, TextEmbeddings, Vocabulary

__all__ = ["best_phrases", "column_scores", "columns", "labeled", "query_rows", "reported"]

Floats = NDArray[np.float32]


def columns(vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return the C labels, then the N negatives."""
    return vocabulary.labels if vocabulary.label_set is None else vocabulary.label_set.columns


def best_phrases(vocabulary: Vocabulary, rows: Floats) -> Floats:
    """Return (..., C + N) for (..., R) scores or logits of phrases: each label has the best of its own."""
    return rows if vocabulary.label_set is None else vocabulary.label_set.best(rows)


def reported(vocabulary: Vocabulary, values: Floats) -> Floats:
    """Return (..., C) of (..., C + N) values, without negatives; a parent has its best child's at least."""
    return values if vocabulary.label_set is None else vocabulary.label_set.reported(values)


def query_rows(vocabulary: Vocabulary, wanted: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the phrases that a detector gets for the wanted labels: all of theirs, and the negatives."""
    return wanted if vocabulary.label_set is None else vocabulary.label_set.rows_of(wanted)


def labeled(vocabulary: Vocabulary, found: Candidates) -> Candidates:
    """Return candidates with scores for labels and negatives, in place of those for phrases."""
    if vocabulary.label_set is None:
        return found
    best = vocabulary.label_set.best
    return replace(found, scores=best(found.scores), best=best(found.best))


def column_scores(
    vocabulary: Vocabulary, tagger: Tagger, features: Floats, texts: TextEmbeddings, scores: Floats, logits: Floats
) -> Floats:
    """Return the tagger's (P, C + N) scores.

    Where scores depend on each other, those of an image are the tagger's for the best phrase of each label there: a
    softmax over labels, in which the other phrases have no part.

    Args:
        vocabulary: The labels.
        tagger: The tagger.
        features: (P, D) of its encode_images.
        texts: The R phrases, encoded.
        scores: (P, R) of the phrases.
        logits: (P, R) of the phrases.
    """
    if vocabulary.label_set is None or tagger.independent:
        return best_phrases(vocabulary, scores)
    starts = vocabulary.label_set.starts
    groups = np.split(np.arange(logits.shape[1]), starts[1:])
    chosen = np.stack([group[logits[:, group].argmax(axis=1)] for group in groups], axis=1)
    made = np.zeros(chosen.shape, np.float32)
    for rows in np.unique(chosen, axis=0):
        images = np.flatnonzero((chosen == rows).all(axis=1))
        some = TextEmbeddings(tuple(texts.labels[row] for row in rows), texts.prompts, texts.embeddings[rows])
        made[images] = tagger.scores(features[images], some)
    return made
