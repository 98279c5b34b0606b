"""The Grounding DINO adapters give what transformers' processor, full forward and post-processing give."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from packaging.version import Version
from PIL import Image

from openvocab.errors import BadOutput
from openvocab.models.detectors.grounding_dino_detector import GroundingDinoDetector, MMGroundingDinoDetector
from openvocab.models.detectors.grounding_dino_forward import encode_image, find_objects
from openvocab.models.detectors.grounding_dino_text import prompt
from openvocab.pipeline.protocols import Boxes
from openvocab.weights.files import sha256_of
from tests.helpers.processors import NanWhereTall

right_library = pytest.mark.skipif(
    Version(transformers.__version__) < Version("5.23"),
    reason="transformers before 5.23 rounds the embeddings of a prompt's positions, and its answers are others",
)

FAMILIES = {"grounding_dino": GroundingDinoDetector, "mm_grounding_dino": MMGroundingDinoDetector}
SIZES = [(60, 60), (40, 100), (100, 40), (5, 3), (2, 300)]
NAMES = ["square", "wide", "tall", "tiny", "a line"]
FEW = ["dog", "red cat", "thing 12"]
MANY = [f"{word} {row}" for word in ("thing", "red cat", "dog") for row in range(15)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("dino")
    return {family: Path(import_module(f"tests.tiny.{family}").write(root / family)) for family in FAMILIES}


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    return folders[request.param]


def load(folder: Path, dtype: str = "float32", rule: str = "") -> GroundingDinoDetector:
    return FAMILIES[folder.name].load(f"{folder}{rule}", "cpu", dtype)


@pytest.fixture(scope="module")
def detector(folder: Path) -> GroundingDinoDetector:
    return load(folder)


@pytest.fixture(scope="module")
def by_max(folder: Path) -> GroundingDinoDetector:
    """The same model with the library's score of a label."""
    return load(folder, rule="+max")


@pytest.fixture(scope="module")
def one_kind(folders: dict[str, Path]) -> GroundingDinoDetector:
    return load(folders["grounding_dino"])


@pytest.fixture(scope="module")
def library(folder: Path) -> tuple[Any, Any]:
    """The library's model and processor of the same folder."""
    model = getattr(transformers, FAMILIES[folder.name].model_class).from_pretrained(folder)
    return model.eval(), transformers.AutoProcessor.from_pretrained(folder)


@pytest.fixture(scope="module")
def images(make_image: Callable[..., Any]) -> list[Any]:
    return [make_image(height, width, seed) for seed, (height, width) in enumerate(SIZES)]


def _answer(library: tuple[Any, Any], image: Any, labels: list[str]) -> Any:
    model, processor = library
    with torch.no_grad():
        return model(**processor(images=Image.fromarray(image), text=[labels], return_tensors="pt"))


def _encoded(detector: GroundingDinoDetector, image: Any) -> Any:
    given = detector.processor.image_processor(images=Image.fromarray(image), return_tensors="pt")
    return encode_image(detector.model.model, given.pixel_values)


def _scores(detector: GroundingDinoDetector, image: Any, labels: list[str]) -> Any:
    """The best score of each query over all tokens, sorted."""
    asked = prompt(detector.encode_labels(labels).embeddings, range(len(labels)))
    logits = find_objects(detector.model, _encoded(detector, image), asked)[0]
    return logits.max(1).values.sigmoid().sort().values.numpy()


def _tidy(found: Any, image: Any) -> tuple[Any, Any, Any]:
    """Boxes, scores and rows of post-processing, clipped to the image, without empty ones, best first."""
    height, width = image.shape[:2]
    boxes = found["boxes"].numpy().clip(0, [width, height, width, height])
    order = np.argsort(-found["scores"].numpy(), kind="stable")
    order = order[(boxes[order, 2:] > boxes[order, :2]).all(1)]
    return boxes[order], found["scores"].numpy()[order], order


def _same(one: Boxes, other: Boxes, names: tuple[list[str], list[str]] | None = None) -> None:
    labels: Any = names or (range(99), range(99))
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-6)
    np.testing.assert_allclose(one.xyxy, other.xyxy, atol=1e-3)
    assert [labels[0][row] for row in one.label_index] == [labels[1][row] for row in other.label_index]


@right_library
@pytest.mark.parametrize("row", range(len(SIZES)), ids=NAMES)
def test_one_label_gives_the_boxes_of_the_library(
    row: int, by_max: GroundingDinoDetector, library: tuple[Any, Any], images: list[Any]
) -> None:
    answer, sizes = _answer(library, images[row], ["red cat"]), [SIZES[row]]
    ranked = answer.logits[0].max(-1).values.sigmoid().sort().values
    threshold = float(ranked[9] + ranked[10]) / 2
    after = library[1].post_process_grounded_object_detection
    xyxy, scores, _ = _tidy(after(answer, threshold=threshold, target_sizes=sizes)[0], images[row])
    got = by_max.detect([images[row]], by_max.encode_labels(["red cat"]), threshold)[0]
    assert 0 < len(scores) < 20
    np.testing.assert_allclose(got.scores, scores, atol=1e-4)
    np.testing.assert_allclose(got.xyxy, xyxy, atol=1e-4 * max(SIZES[row]))
    assert not got.label_index.any()


@right_library
@pytest.mark.parametrize("row", range(len(SIZES)), ids=NAMES)
def test_several_labels_give_the_boxes_of_the_library_and_the_label_of_its_best_token(
    row: int, by_max: GroundingDinoDetector, library: tuple[Any, Any], images: list[Any]
) -> None:
    queries = by_max.encode_labels(FEW)
    order = sorted(range(len(FEW)), key=lambda label: queries.embeddings.blocks[label])
    answer = _answer(library, images[row], [FEW[label] for label in order])
    ids = answer.input_ids[0]
    ends = (ids == 1012).cumsum(0) - (ids == 1012).long()  # which label a token belongs to: full stops before it
    answer.logits[:, :, [0, len(ids) - 1]] = float("-inf")  # [CLS] and [SEP], which belong to none
    expected = np.array(order)[ends[answer.logits[0].argmax(-1)].numpy()]
    after = library[1].post_process_grounded_object_detection
    xyxy, scores, rows = _tidy(after(answer, threshold=0.0, target_sizes=[SIZES[row]])[0], images[row])
    got = by_max.detect([images[row]], queries, 0.0)[0]
    np.testing.assert_allclose(got.scores, scores, atol=1e-4)
    np.testing.assert_allclose(got.xyxy, xyxy, atol=1e-4 * max(SIZES[row]))
    np.testing.assert_array_equal(got.label_index, expected[rows])


@right_library
@pytest.mark.parametrize("row", range(len(SIZES)), ids=NAMES)
def test_scores_are_means_over_the_words_of_a_label_in_the_librarys_own_forward(
    row: int, detector: GroundingDinoDetector, library: tuple[Any, Any], images: list[Any]
) -> None:
    queries = detector.encode_labels(FEW)
    order = sorted(range(len(FEW)), key=lambda label: queries.embeddings.blocks[label])
    answer = _answer(library, images[row], [FEW[label] for label in order])
    ids = answer.input_ids[0]
    owner = (ids == 1012).cumsum(0)
    spans = torch.stack([(owner == place) & (ids != 1012) & (ids > 102) for place in range(len(FEW))]).float()
    by_label = answer.logits[0, :, : len(ids)].sigmoid() @ (spans / spans.sum(1, keepdim=True)).T
    best, place = by_label.max(1)
    after = library[1].post_process_grounded_object_detection
    boxes = after(answer, threshold=0.0, target_sizes=[SIZES[row]])[0]["boxes"]
    xyxy, scores, rows = _tidy({"boxes": boxes, "scores": best}, images[row])
    got = detector.detect([images[row]], queries, 0.0)[0]
    np.testing.assert_allclose(got.scores, scores, atol=1e-4)
    np.testing.assert_allclose(got.xyxy, xyxy, atol=1e-4 * max(SIZES[row]))
    np.testing.assert_array_equal(got.label_index, np.array(order)[place[rows]])


@right_library
@pytest.mark.parametrize("label", ["cat", "thing 12", "red dog"])
def test_boxes_are_those_of_the_zero_shot_pipeline(
    label: str, by_max: GroundingDinoDetector, library: tuple[Any, Any], images: list[Any]
) -> None:
    parts = {"tokenizer": library[1].tokenizer, "image_processor": library[1].image_processor}
    find = transformers.pipeline("zero-shot-object-detection", library[0], **parts)
    # without its full stop the model would see each token of the label alone
    expected = find(Image.fromarray(images[0]), candidate_labels=[f"{label}."], threshold=0.0)
    got = by_max.detect(images[:1], by_max.encode_labels([label]), 0.0)[0]
    boxes = np.array([list(one["box"].values()) for one in expected])
    np.testing.assert_allclose(got.scores, [one["score"] for one in expected], atol=1e-4)
    np.testing.assert_allclose(got.xyxy, boxes.clip(0, 60), atol=1.001)  # the pipeline cuts off fractions


@right_library
@pytest.mark.parametrize("labels", [["cat"], FEW, MANY[:10]], ids=["one", "three", "ten"])
def test_features_that_are_kept_are_those_of_the_full_forward(
    labels: list[str], detector: GroundingDinoDetector, library: tuple[Any, Any], images: list[Any]
) -> None:
    model = library[0]
    seen: list[Any] = []
    hook = model.model.text_projection.register_forward_hook(lambda *given: seen.append(given[2]))
    answer = _answer(library, images[1], labels)
    hook.remove()
    asked = prompt(detector.encode_labels(labels).embeddings, range(len(labels)))
    logits, boxes = find_objects(detector.model, _encoded(detector, images[1]), asked)
    torch.testing.assert_close(asked.features, seen[0], atol=1e-4, rtol=0)
    torch.testing.assert_close(logits, answer.logits[0, :, : logits.shape[1]], atol=1e-4, rtol=0)
    torch.testing.assert_close(boxes, answer.pred_boxes[0], atol=1e-4, rtol=0)


def test_boxes_keep_the_contract(detector: GroundingDinoDetector, images: list[Any]) -> None:
    found = detector.detect(images, detector.encode_labels(MANY), 0.0)
    assert len(found) == len(images)
    for boxes, (height, width) in zip(found, SIZES, strict=True):
        assert boxes.xyxy.dtype == boxes.scores.dtype == np.float32
        assert boxes.label_index.dtype == np.int64
        assert (np.diff(boxes.scores) <= 0).all()
        assert ((boxes.label_index >= 0) & (boxes.label_index < len(MANY))).all()
        assert ((boxes.xyxy >= 0) & (boxes.xyxy <= [width, height, width, height])).all()
        assert (boxes.xyxy[:, 2:] > boxes.xyxy[:, :2]).all()


def test_neighbors_change_nothing(detector: GroundingDinoDetector, images: list[Any]) -> None:
    queries = detector.encode_labels(FEW)
    for one, image in zip(detector.detect(images, queries, 0.0), images, strict=True):
        _same(one, detector.detect([image], queries, 0.0)[0])


@pytest.mark.parametrize("count", [3, len(MANY)], ids=["one prompt", "several prompts"])
def test_order_of_labels_changes_nothing(count: int, detector: GroundingDinoDetector, images: list[Any]) -> None:
    labels = MANY[:count]
    turned = random.Random(count).sample(labels, count)
    one, other = (detector.detect(images[:2], detector.encode_labels(given), 0.0) for given in (labels, turned))
    for straight, mixed in zip(one, other, strict=True):
        _same(straight, mixed, (labels, turned))


def test_queries_that_are_picked_are_those_of_a_smaller_vocabulary(
    detector: GroundingDinoDetector, images: list[Any]
) -> None:
    queries, rows = detector.encode_labels(MANY), [40, 3, 17]
    labels = [MANY[row] for row in rows]
    picked = replace(queries, labels=tuple(labels), embeddings=queries.embeddings[rows])
    expected = detector.detect(images[:1], detector.encode_labels(labels), 0.0)[0]
    _same(detector.detect(images[:1], picked, 0.0)[0], expected)


def test_template_is_part_of_what_is_read(one_kind: GroundingDinoDetector, images: list[Any]) -> None:
    filled = one_kind.encode_labels(["cat", "dog"], "a photo of a {label}")
    plain = one_kind.encode_labels(["a photo of a cat", "a photo of a dog"])
    assert filled.template == "a photo of a {label}"
    assert filled.embeddings.blocks == plain.embeddings.blocks
    one, other = (one_kind.detect(images[:1], each, 0.0)[0] for each in (filled, plain))
    _same(one, other)


# --- large vocabularies, on models whose truth is known


def _rig_apart(detector: GroundingDinoDetector) -> None:
    """Take away all that lets one label reach another: the fusion, and what queries read from the text."""
    core = detector.model.model
    with torch.no_grad():
        for layer in core.encoder.layers:
            layer.fusion_layer.vision_param.zero_()
            layer.fusion_layer.text_param.zero_()
        for layer in core.decoder.layers:
            layer.encoder_attn_text.out_proj.weight.zero_()


def _rig_places(detector: GroundingDinoDetector, count: int) -> None:
    """Make every place of the image a query, all starting from the same features."""
    core = detector.model.model
    detector.model.config.num_queries = core.config.num_queries = count
    core.query_position_embeddings = torch.nn.Embedding.from_pretrained(torch.ones(count, 64))


def _widen(detector: GroundingDinoDetector, context: int) -> None:
    detector.model.config.max_text_len = context
    for head in (*detector.model.class_embed, detector.model.model.encoder_output_class_embed):
        head.max_text_len = context


def test_scores_of_different_prompts_are_comparable(folder: Path, images: list[Any]) -> None:
    found = []
    for context in (64, 256):
        detector = load(folder)
        _rig_apart(detector)
        _rig_places(detector, 64 + 16 + 4 + 1)
        _widen(detector, context)
        found.append(detector.detect(images[:1], detector.encode_labels(MANY), 0.0)[0])
    several, whole = found
    assert len(several.scores) > 2 * len(whole.scores)
    best: dict[tuple[float, ...], int] = {}
    for row, box in enumerate(several.xyxy.round(1)):
        best.setdefault(tuple(box.tolist()), row)
    rows = [best[tuple(box.tolist())] for box in whole.xyxy.round(1)]
    np.testing.assert_allclose(several.scores[rows], whole.scores, atol=1e-4)
    np.testing.assert_array_equal(several.label_index[rows], whole.label_index)


@pytest.fixture(scope="module")
def lvis() -> list[str]:
    """As many labels as LVIS has, of one to three words."""
    words = ["cat", "dog", "thing", "red", "photo"]
    labels = [*words, *(f"{one} {two}" for one in words for two in words if one != two)]
    labels += [f"{word} {row}" for row in range(300) for word in words]
    return random.Random(0).sample(labels[:1203], 1203)


@pytest.mark.parametrize("target", [0, 1202], ids=["first", "last"])
def test_label_of_a_large_vocabulary_is_right(target: int, folder: Path, lvis: list[str], images: list[Any]) -> None:
    """The last text features have one length; queries are set to those of one label, so no other fits as well."""
    detector = load(folder, rule="+max")
    _rig_apart(detector)
    core = detector.model.model
    seen: list[Any] = []
    hook = core.encoder.register_forward_hook(lambda *given: seen.append(given[2].last_hidden_state_text))
    with torch.no_grad():
        core.encoder.layers[-1].text_enhancer_layer.layer_norm_after.weight.fill_(1)
        core.encoder.layers[-1].text_enhancer_layer.layer_norm_after.bias.zero_()
        detector.detect(images[:1], detector.encode_labels([lvis[target]]), 0.0)
        hook.remove()
        core.decoder.layer_norm.weight.zero_()
        core.decoder.layer_norm.bias.copy_(0.05 * seen[0][0, 1])
    found = detector.detect(images[:1], detector.encode_labels(lvis), 0.0)[0]
    prompts = len(found.scores) // 20
    assert prompts > 30
    assert found.label_index[0] == target
    assert lvis[target] not in {lvis[row] for row in found.label_index[20:]}
    assert found.scores[0] > found.scores[-1]


# --- precision


@pytest.mark.parametrize("row", range(len(SIZES)), ids=NAMES)
def test_bfloat16_is_close(row: int, folder: Path, images: list[Any]) -> None:
    """With every place a query; which of two places that fit alike becomes one is not what is tried here."""
    found = []
    for dtype in ("float32", "bfloat16"):
        detector = load(folder, dtype)
        places = sum(height * width for height, width in _encoded(detector, images[row]).shapes)
        _rig_places(detector, places)
        found.append(_scores(detector, images[row], FEW))
    exact, low = found
    np.testing.assert_allclose(low, exact, atol=0.05)
    assert abs(low - exact).mean() < 0.01


@pytest.mark.parametrize("row", range(3), ids=NAMES[:3])
def test_bfloat16_changes_a_top_label_only_where_two_labels_are_as_good(
    row: int, folder: Path, images: list[Any]
) -> None:
    """Logits of the tiny models are scaled to a deviation of 2: where all are saturated, nothing would be compared."""
    by_label: list[Any] = []
    for dtype in ("float32", "bfloat16"):
        detector = load(folder, dtype)
        _rig_places(detector, sum(height * width for height, width in _encoded(detector, images[row]).shapes))
        asked = prompt(detector.encode_labels(FEW).embeddings, range(len(FEW)))
        logits = find_objects(detector.model, _encoded(detector, images[row]), asked)[0]
        by_label.append(logits[:, asked.named])
    scale = 2 / by_label[0].std()
    exact, low = ((scale * each).sigmoid() for each in by_label)
    changed = exact.argmax(1) != low.argmax(1)
    best = exact.topk(2).values
    assert float(exact.std()) > 0.05
    assert changed.float().mean() < 0.1
    assert float((best[:, 0] - best[:, 1])[changed].max() if changed.any() else 0) < 0.05


def test_bfloat16_says_so(folder: Path) -> None:
    low = load(folder, "bfloat16")
    assert low.record.dtype == "bfloat16"
    kinds = {value.dtype for value in low.model.model.encoder.parameters()}
    assert kinds == {torch.float32, torch.bfloat16}
    assert {value.dtype for value in low.model.model.decoder.parameters()} == {torch.float32}


def test_bfloat16_leaves_words_alone(folder: Path, detector: GroundingDinoDetector) -> None:
    exact, low = (each.encode_labels(FEW).embeddings for each in (detector, load(folder, "bfloat16")))
    for one, other in zip(exact.features, low.features, strict=True):
        assert torch.equal(one, other)


def test_nothing_in_nothing_out(one_kind: GroundingDinoDetector, images: list[Any]) -> None:
    queries = one_kind.encode_labels(["cat"])
    assert one_kind.detect([], queries, 0.1) == []
    none = one_kind.detect(images[:1], queries, 1.0)[0]
    assert (none.xyxy.shape, none.scores.shape, none.label_index.shape) == ((0, 4), (0,), (0,))


def test_record_says_which_weights(detector: GroundingDinoDetector, folder: Path) -> None:
    assert detector.record.sha256 == sha256_of(folder / "model.safetensors")
    assert detector.record.spec == f"{folder.name}:{folder}"
    assert load(folder, rule="+max").record.spec == f"{folder.name}:{folder}+max"


def test_image_without_an_answer_is_named(one_kind: GroundingDinoDetector, images: list[Any]) -> None:
    broken = replace(one_kind, processor=NanWhereTall(one_kind.processor))
    with pytest.raises(BadOutput, match="image 2 "):
        broken.detect(images[:3], one_kind.encode_labels(["cat"]), 0.1)


def test_weights_without_the_backbones_unused_norm_are_taken(
    tmp_path: Path, folder: Path, detector: GroundingDinoDetector, images: list[Any]
) -> None:
    """The library ignores that it is absent, and so must we."""
    from safetensors.torch import load_file, save_file

    other = tmp_path / folder.name
    shutil.copytree(folder, other)
    state = load_file(other / "model.safetensors")
    kept = {name: value for name, value in state.items() if "swin.layernorm" not in name}
    assert len(kept) < len(state)
    save_file(kept, other / "model.safetensors", {"format": "pt"})
    one, two = (each.detect(images[:1], each.encode_labels(FEW), 0.0)[0] for each in (detector, load(other)))
    _same(one, two)
