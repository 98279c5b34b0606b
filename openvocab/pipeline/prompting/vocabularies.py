"""Labels or a prompt, encoded once for every stage that reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from openvocab.pipeline.presence import encode_background
from openvocab.pipeline.prompting.prompts import encode_queries
from openvocab.pipeline.protocols import TextEmbeddings, Vocabulary
from openvocab.pipeline.stages import Stages
from openvocab.prompts.prompt import Prompt
from openvocab.prompts.sets import LabelSet, read_label_set
from openvocab.prompts.templates import PromptSet, prompt_set

__all__ = ["encode_vocabulary"]


def encode_vocabulary(
    stages: Stages,
    labels: str | Sequence[str] | LabelSet | Prompt,
    template: str | Sequence[str] | PromptSet | None,
    detector_template: str | None,
    encode: Callable[[PromptSet, tuple[str, ...]], TextEmbeddings] | None,
) -> Vocabulary:
    """Encode labels, a label set or a prompt. A prompt with a label that is no word has no texts.

    Args:
        stages: The models.
        labels: See Pipeline.vocabulary, as the next two.
        template: The tagger's.
        detector_template: The detector's.
        encode: Encodes labels for the tagger, given their templates; None without a tagger.

    Raises:
        BadInput: as Pipeline.vocabulary.
    """
    prompt = given = None
    if isinstance(labels, Prompt):
        prompt, phrases = labels, labels.classes
    else:
        given = read_label_set(labels)
        phrases = given.phrases
    prompts, texts, background = prompt_set(template), None, None
    queries = encode_queries(stages, prompt or phrases, detector_template)
    if stages.tagger is not None and encode is not None and not (prompt and prompt.unnamed):
        texts = encode(prompts, phrases)
        if stages.presence_model.relative:
            background = encode_background(stages.tagger, phrases, prompts, partial(encode, prompts))
    names = phrases if given is None else tuple(given.labels)
    label_set = None if given is None or given.is_plain else given
    return Vocabulary(names, prompts, texts, queries, background, prompt.digest if prompt else "", label_set)
