"""Re-implemented forwards and mask resizing are used only if they answer as the installed library does."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import openvocab
from openvocab.errors import MissingExtra, OpenVocabWarning
from openvocab.models import checked

LABELS = ["cat", "dog", "red thing"]
MODULES = "transformers.models"
FORWARDS = {
    "grounding_dino": (
        "grounding_dino.modeling_grounding_dino",
        "GroundingDinoForObjectDetection",
        "GroundingDinoModel.generate_encoder_output_proposals",
        "the forward pass of Grounding DINO",
    ),
    "mm_grounding_dino": (
        "mm_grounding_dino.modeling_mm_grounding_dino",
        "MMGroundingDinoForObjectDetection",
        "MMGroundingDinoContrastiveEmbedding.forward",
        "the forward pass of Grounding DINO",
    ),
    "omdet_turbo": (
        "omdet_turbo.modeling_omdet_turbo",
        "OmDetTurboForObjectDetection",
        "OmDetTurboHybridEncoder.forward",
        "the forward pass of OmDet-Turbo",
    ),
    "sam3": ("sam3.modeling_sam3", "Sam3Model", "Sam3DetrEncoder.forward", "the forward pass of SAM 3"),
}
"""Family -> module, model and a part of it that openvocab calls, and how the warning names its forward."""


@pytest.fixture(autouse=True)
def no_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test compares anew."""
    monkeypatch.setattr(checked, "_verdicts", {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    written: dict[str, str] = {}

    def spec(family: str) -> str:
        if family not in written:
            path: Path = tmp_path_factory.mktemp(family) / "model"
            written[family] = f"{family}:{import_module(f'tests.tiny.{family}').write(path)}"
        return written[family]

    return spec


def bare(made: Any) -> Any:
    """A release that returns the first part of an answer alone."""
    return made[0]


def renamed(made: Any) -> Any:
    """A release that calls the method otherwise."""
    raise AttributeError("no such method")


@pytest.fixture
def another_release(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Changes what a part of a library returns, but for the library's own forward, which knows its parts."""

    def change(family: str, answer: Callable[[Any], Any] | None) -> None:
        module, model, part, _ = FORWARDS[family]
        library = import_module(f"{MODULES}.{module}")
        kind = getattr(library, model)
        owner, _, name = part.partition(".")
        whole, own, depth = kind.forward, getattr(getattr(library, owner), name), [0]

        def forward(self: Any, *args: Any, **named: Any) -> Any:
            depth[0] += 1
            try:
                made = whole(self, *args, **named)
            finally:
                depth[0] -= 1
            if answer is None:  # an attribute was added: a scale of the scores
                for each in ("logits", "decoder_class_logits", "pred_logits"):
                    if each in made:
                        made[each] = made[each] * 1.5
            return made

        def changed(self: Any, *args: Any, **named: Any) -> Any:
            made = own(self, *args, **named)
            return made if depth[0] or answer is None else answer(made)

        monkeypatch.setattr(kind, "forward", forward)
        monkeypatch.setattr(getattr(library, owner), name, changed)

    return change


def found(spec: str, image: Any) -> Any:
    detector = openvocab.load_detector(spec, "cpu", "float32")
    queries = detector.encode_labels(LABELS)
    picked = type(queries)(queries.labels[:2], queries.template, queries.embeddings[[0, 1]])
    return detector.detect([image], queries, 0.0)[0], detector.detect([image], picked, 0.0)[0]


@pytest.mark.parametrize("family", FORWARDS)
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(bare, id="a bare tensor is returned"),
        pytest.param(renamed, id="a method is renamed"),
        pytest.param(None, id="an attribute is added"),
    ],
)
@pytest.mark.filterwarnings("ignore:the detector reads label")
def test_another_releases_own_forward_answers(
    answer: Callable[[Any], Any] | None,
    family: str,
    folder: Callable[[str], str],
    another_release: Callable[..., None],
    make_image: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = make_image(40, 60, 1)
    before = found(folder(family), image)
    monkeypatch.setattr(checked, "_verdicts", {})
    another_release(family, answer)
    with pytest.warns(OpenVocabWarning, match=FORWARDS[family][3]) as warned:
        after = found(folder(family), image)
    assert sum("faster code for" in str(each.message) for each in warned) == 1
    for one, other in zip(before, after, strict=True):
        if answer is None:
            assert len(other.scores) and not np.allclose(one.scores[:1], other.scores[:1], atol=1e-3)
        else:
            np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
            np.testing.assert_allclose(one.xyxy, other.xyxy, atol=0.05)


@pytest.mark.parametrize("family", FORWARDS)
def test_this_releases_forward_is_replaced_without_a_warning(family: str, folder: Callable[[str], str]) -> None:
    openvocab.load_detector(folder(family), "cpu", "float32")
    verdicts = {part: alike for (part, _), alike in checked._verdicts.items()}
    assert verdicts[FORWARDS[family][3]] and all(verdicts.values())


# --- mask resizing


RESIZING = {
    "sam": ("segment_anything.modeling.sam", "Sam", "postprocess_masks"),
    "sam_hf": (f"{MODULES}.sam.image_processing_sam", "SamImageProcessor", "post_process_masks"),
    "sam_hq": (f"{MODULES}.sam.image_processing_sam", "SamImageProcessor", "post_process_masks"),
    "sam2": (f"{MODULES}.sam2.image_processing_sam2", "Sam2ImageProcessor", "post_process_masks"),
    "edgetam": (f"{MODULES}.sam2.image_processing_sam2", "Sam2ImageProcessor", "post_process_masks"),
}


def flipped(made: Any) -> Any:
    """The masks of a release that turns them round, in whatever they come."""
    return made.flip(-1) if isinstance(made, torch.Tensor) else [each.flip(-1) for each in made]


@pytest.mark.parametrize("family", RESIZING)
def test_another_releases_own_mask_resizing_answers(
    family: str, folder: Callable[[str], str], make_image: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    image, boxes = make_image(40, 60, 1), np.array([[5, 5, 40, 30], [0, 0, 60, 40]], np.float32)
    loaded = openvocab.load_segmenter(folder(family), "cpu", "float32")
    before = loaded.masks(loaded.encode(image), boxes)[0]
    module, kind, name = RESIZING[family]
    owner = getattr(import_module(module), kind)
    own = getattr(owner, name)
    monkeypatch.setattr(checked, "_verdicts", {})
    monkeypatch.setattr(owner, name, lambda *args, **named: flipped(own(*args, **named)))
    with pytest.warns(OpenVocabWarning, match="mask resizing of"):
        loaded = openvocab.load_segmenter(folder(family), "cpu", "float32")
    after = loaded.masks(loaded.encode(image), boxes)[0]
    assert before.any() and not before.all()
    np.testing.assert_array_equal(before, after[..., ::-1])


def test_without_the_librarys_resizing_ours_stays(
    folder: Callable[[str], str], make_image: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import SamImageProcessor

    monkeypatch.delattr(SamImageProcessor, "post_process_masks")
    loaded = openvocab.load_segmenter(folder("sam_hf"), "cpu", "float32")
    masks, _ = loaded.masks(loaded.encode(make_image(20, 30, 0)), np.array([[2, 2, 20, 15]], np.float32))
    assert masks.shape == (1, 20, 30)


# --- loading


def refusing(name: str) -> Any:
    """from_pretrained of a release that has no such argument."""

    def from_pretrained(cls: Any, *args: Any, **named: Any) -> Any:
        raise TypeError(f"__init__() got an unexpected keyword argument {name!r}")

    return classmethod(from_pretrained)


@pytest.mark.parametrize(
    ("kind", "from_pretrained", "message"),
    [
        pytest.param("SamModel", refusing("weights_only"), "argument 'weights_only'", id="the model's argument"),
        pytest.param(
            "SamModel", classmethod(lambda cls, *args, **named: cls), "returns a type", id="the model returned alone"
        ),
        pytest.param(
            "SamImageProcessor", refusing("local_files_only"), "argument 'local_files_only'", id="the processor's"
        ),
    ],
)
def test_a_changed_interface_is_not_blamed_on_the_file(
    kind: str, from_pretrained: Any, message: str, folder: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    monkeypatch.setattr(getattr(transformers, kind), "from_pretrained", from_pretrained)
    with pytest.raises(MissingExtra, match=f"has another interface than openvocab expects .*{message}.*pip install"):
        openvocab.load_segmenter(folder("sam_hf"), "cpu", "float32")
