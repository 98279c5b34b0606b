"""Class embeddings equal those of open_clip's own zero-shot classifier."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import openvocab

LABELS = ["cat", "dog", "traffic light", "a label of several words", "Köln"]


def _filled(template: str, label: str) -> str:
    return template.replace("{label}", label)


@pytest.mark.parametrize("prompts", ["simple", "plain", "openai7", "openai80", "cifar18"])
def test_class_embeddings_are_those_of_open_clip(prompts, tiny_tagger):
    import open_clip

    name = tiny_tagger.removeprefix("open_clip:")
    model, _, _ = open_clip.create_model_and_transforms(name)
    templates = openvocab.prompt_set(prompts)
    fills = [partial(_filled, template) for template in templates.templates]
    tokenizer = open_clip.get_tokenizer(name)
    expected = open_clip.build_zero_shot_classifier(model.eval(), tokenizer, LABELS, fills, num_classes_per_batch=2)
    tagger = openvocab.load_tagger(tiny_tagger, "cpu", "float32")
    got = tagger.encode_labels(LABELS, templates).embeddings
    np.testing.assert_allclose(got, expected.numpy().T, atol=1e-6)
