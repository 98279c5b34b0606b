"""Faster code for a part of a library is used only where it answers as the installed release does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from openvocab.errors import OpenVocabWarning
from openvocab.models import checked
from openvocab.models.checked import agree, replace_checked


@pytest.fixture(autouse=True)
def no_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test compares anew."""
    monkeypatch.setattr(checked, "_verdicts", {})


class Doubling(nn.Module):
    """Stands for a part of a library; returns (features, weights)."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, values: Tensor) -> Any:
        return self.project(values) * 2, "weights"

    def project(self, values: Tensor) -> Tensor:
        made: Tensor = self.linear(values)
        return made


class Quicker(nn.Module):
    """What was written after reading Doubling."""

    def __init__(self, old: Doubling) -> None:
        super().__init__()
        self.project = old.project

    def forward(self, values: Tensor) -> tuple[Tensor, None]:
        return 2 * self.project(values), None


class BareTensor(Doubling):
    """A release that returns the features alone: [0] would be those of the first image."""

    def forward(self, values: Tensor) -> Any:
        return super().forward(values)[0]


class Renamed(Doubling):
    """A release that calls its method otherwise."""

    project = None  # type: ignore[assignment]

    def forward(self, values: Tensor) -> Any:
        return self.linear(values) * 2, "weights"


class MoreArguments(Doubling):
    """A release that wants one argument more."""

    def forward(self, values: Tensor, mask: Tensor) -> Any:  # type: ignore[override]
        return super().forward(values * mask)


class AttributeAdded(Doubling):
    """A release whose part has a scale now."""

    scale = 1.5

    def forward(self, values: Tensor) -> Any:
        features, weights = super().forward(values)
        return features * self.scale, weights


def replace(part: nn.Module) -> tuple[nn.ModuleDict, bool]:
    holder = nn.ModuleDict({"part": part})
    done = replace_checked(
        holder, "part", Quicker, lambda old: ((torch.randn(2, 4),), {}), "doubling", lambda made: made[0]
    )
    return holder, done


def test_a_part_that_answers_alike_is_replaced() -> None:
    holder, done = replace(Doubling().train())
    assert done and isinstance(holder["part"], Quicker) and holder["part"].training


@pytest.mark.parametrize(
    "release",
    [
        pytest.param(BareTensor, id="a bare tensor is returned"),
        pytest.param(Renamed, id="a method has another name"),
        pytest.param(MoreArguments, id="an argument was added"),
        pytest.param(AttributeAdded, id="an attribute was added"),
    ],
)
def test_another_release_keeps_its_own_part_with_one_warning(release: type[Doubling]) -> None:
    with pytest.warns(OpenVocabWarning, match="faster code for doubling"):
        holder, done = replace(release())
    assert not done and type(holder["part"]) is release
    assert not replace(release())[1]  # a second warning would be an error here


def test_random_numbers_of_the_caller_are_left_alone() -> None:
    part, state = Doubling(), torch.get_rng_state()
    assert replace(part)[1]
    assert torch.equal(torch.get_rng_state(), state)


@dataclass
class Pair:
    one: Tensor
    two: int


ONES = torch.ones(2, 3)


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        pytest.param(ONES, ONES + 1e-5, True, id="rounding"),
        pytest.param(ONES, ONES + 0.1, False, id="another value"),
        pytest.param(ONES, ONES[:1], False, id="another shape"),
        pytest.param(ONES, ONES.double(), False, id="another precision"),
        pytest.param(ONES, ONES * float("nan"), False, id="not a number"),
        pytest.param(ONES.int(), ONES.int(), True, id="whole numbers"),
        pytest.param((ONES, None), (ONES, None), True, id="a tuple"),
        pytest.param((ONES, None), ONES, False, id="a tuple and a tensor"),
        pytest.param((ONES,), (ONES, ONES), False, id="more parts"),
        pytest.param({"a": ONES}, {"a": ONES}, True, id="a mapping"),
        pytest.param({"a": ONES}, {"b": ONES}, False, id="other keys"),
        pytest.param(Pair(ONES, 1), Pair(ONES, 1), True, id="a dataclass"),
        pytest.param(Pair(ONES, 1), Pair(ONES, 2), False, id="another field"),
    ],
)
def test_answers_are_compared_part_by_part(one: Any, other: Any, alike: bool) -> None:
    assert agree(one, other) == alike


def _sam_attention() -> tuple[type, str, Callable[[], None]]:
    from segment_anything.modeling.image_encoder import Attention

    from openvocab.models.segmenters.sam_attention import MaskFreeAttention, mask_free

    def load() -> None:
        layer = nn.ModuleDict({"attn": Attention(8, 2, use_rel_pos=True, input_size=(3, 3))})
        mask_free([layer])
        assert not isinstance(layer["attn"], MaskFreeAttention)

    return Attention, "the image attention of SAM", load


def _fusion() -> tuple[type, str, Callable[[], None]]:
    from transformers import GroundingDinoConfig
    from transformers.models.grounding_dino import modeling_grounding_dino as library

    from openvocab.models.detectors.short_text_fusion import use_short_text_fusion

    def load() -> None:
        layer = library.GroundingDinoEncoderLayer(GroundingDinoConfig(d_model=32))
        use_short_text_fusion([layer])
        assert type(layer.fusion_layer.attn) is library.GroundingDinoBiMultiHeadAttention

    return library.GroundingDinoBiMultiHeadAttention, "between image and text of Grounding DINO", load


def _deformable() -> tuple[type, str, Callable[[], None]]:
    from transformers import GroundingDinoConfig
    from transformers.models.grounding_dino import modeling_grounding_dino as library

    from openvocab.models.detectors.deformable_attention import GatheredAttention, use_gathered_attention

    kind = library.GroundingDinoMultiscaleDeformableAttention

    def load() -> None:
        layer = nn.ModuleDict({"attn": kind(GroundingDinoConfig(d_model=32), 4, 2)})
        use_gathered_attention([layer], "attn")
        assert not isinstance(layer["attn"], GatheredAttention)

    return kind, "deformable attention", load


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(_sam_attention, id="sam"),
        pytest.param(_fusion, id="fusion"),
        pytest.param(_deformable, id="deformable"),
    ],
)
def test_each_replaced_part_is_compared_at_load(part: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, name, load = part()
    own = kind.forward

    def forward(self: Any, *args: Any, **named: Any) -> Any:
        made = own(self, *args, **named)
        return made[0] if isinstance(made, tuple) else (made, None)

    monkeypatch.setattr(kind, "forward", forward)
    with pytest.warns(OpenVocabWarning, match=name):
        load()


def test_open_clips_tower_is_compared_at_load(monkeypatch: pytest.MonkeyPatch) -> None:
    from open_clip.transformer import VisionTransformer

    from openvocab.models.taggers import clip_tower

    if not clip_tower._here():
        pytest.skip("this processor has no bfloat16 products")
    tower = VisionTransformer(8, 4, 32, 2, 2, 4.0, output_dim=16).eval().to(torch.bfloat16)
    model = nn.ModuleDict({"visual": tower})
    model.visual = tower
    assert clip_tower.packed_tower(model) is not None
    monkeypatch.setattr(checked, "_verdicts", {})
    own = VisionTransformer.forward
    monkeypatch.setattr(VisionTransformer, "forward", lambda self, pixels: own(self, pixels) * 2)
    with pytest.warns(OpenVocabWarning, match="open_clip's image tower"):
        assert clip_tower.packed_tower(model) is None


@pytest.mark.parametrize("family", ["Owlv2", "OwlViT"])
def test_owls_tower_is_compared_when_it_is_used(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    from openvocab.models.detectors.owl_tower import image_grid

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = getattr(transformers, f"{family}Config")(
        vision_config={**sizes, "image_size": 16, "patch_size": 8}, text_config={**sizes, "vocab_size": 8}
    )
    kind = getattr(transformers, f"{family}ForObjectDetection")
    model, pixels = kind(config).eval(), torch.randn(1, 3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(image_grid(model, pixels), model.image_embedder(pixels)[0], atol=1e-4, rtol=1e-4)
        monkeypatch.setattr(checked, "_verdicts", {})
        own = kind.image_embedder
        monkeypatch.setattr(kind, "image_embedder", lambda self, pixels: (own(self, pixels)[0] + 1, None))
        with pytest.warns(OpenVocabWarning, match="the image tower of OWL"):
            got = image_grid(model, pixels)
        torch.testing.assert_close(got, own(model, pixels)[0] + 1, atol=1e-5, rtol=1e-5)
