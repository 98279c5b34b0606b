"""The embedded models' own training code, on drawings that the tests make."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cv2", reason="needs the extra openvocab[train]")

import torch
from PIL import Image, ImageDraw

from openvocab import BadInput, UnknownName
from training import evaluate, export
from training.architecture import PocketOwlv2, build_sam, detector_config, register
from training.drawings import Drawings, labels, load_folder, load_style
from training.loop import Job, run
from training.optimize import Optimizer, steady_then_down
from training.pool import Pool, write_pool
from training.scenes import DENSE, ORDINARY, SINGLE, Scene, SceneKind, bank, compose
from training.segmenter import decode, prompts
from training.tokens import train_tokenizer
from training.tower import Outputs, Texts, Tower, detection_loss, presence_loss, tag_loss

NAMES = ("apple", "car", "dog")


def drawings() -> Drawings:
    """A disc, a bar and a triangle."""
    found = Drawings()
    for label, color in zip(NAMES, ("red", "blue", "orange"), strict=True):
        canvas = Image.new("RGBA", (60, 60))
        pen = ImageDraw.Draw(canvas)
        if label == "apple":
            pen.ellipse((2, 2, 57, 57), fill=color)
        elif label == "car":
            pen.rectangle((2, 20, 57, 40), fill=color)
        else:
            pen.polygon([(30, 2), (57, 57), (2, 57)], fill=color)
        found[label] = [np.array(canvas)]
    return found


def scene(seed: int, kind: SceneKind = ORDINARY) -> Scene:
    return compose(np.random.default_rng(seed), bank([drawings()], NAMES), kind)


KINDS = [pytest.param(ORDINARY, id="ordinary"), pytest.param(SINGLE, id="single"), pytest.param(DENSE, id="dense")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_truth_is_exact(kind: SceneKind, seed: int) -> None:
    made = scene(seed, kind)
    assert made.image.shape == (256, 256, 3)
    assert made.image.dtype == np.uint8
    assert made.instances.max() == len(made.labels) > 0
    for number, (left, top, right, bottom) in enumerate(made.xyxy.astype(int), 1):
        rows, columns = np.nonzero(made.instances == number)
        assert (left, top, right, bottom) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_a_seed_names_a_scene() -> None:
    np.testing.assert_array_equal(scene(3).image, scene(3).image)
    assert not np.array_equal(scene(3).image, scene(4).image)


def test_most_of_every_object_stays_visible() -> None:
    disc = bank([{"apple": drawings()["apple"]}], ["apple"])
    for seed in range(10):
        made = compose(np.random.default_rng(seed), disc, SceneKind((0, 0, 0, 0, 0, 1.0), 60, 90))
        areas = np.bincount(made.instances.ravel())[1:]
        assert areas.min() > 0.5 * 0.6 * 60 * 60 * 0.6


def test_a_label_without_a_drawing_is_named() -> None:
    with pytest.raises(BadInput, match="no drawing of: pear"):
        bank([drawings()], ["apple", "pear"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label, found in drawings().items():
        (tmp_path / label).mkdir()
        Image.fromarray(found[0]).save(tmp_path / label / "one.png")
    return tmp_path


def test_the_users_own_drawings_are_read(folder: Path) -> None:
    assert {label: found[0].shape[2] for label, found in load_folder(folder).items()} == dict.fromkeys(NAMES, 4)


def test_an_invisible_drawing_is_named(folder: Path) -> None:
    Image.new("RGBA", (60, 60)).save(folder / "car" / "two.png")
    with pytest.raises(BadInput, match=r"two\.png: fewer than 100 visible pixels"):
        load_folder(folder)


def test_an_empty_folder_of_drawings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no drawing found"):
        load_folder(tmp_path)


def test_packages_that_are_not_installed_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="npm install"):
        load_style("noto", tmp_path / "none")
    with pytest.raises(UnknownName, match="drawing style"):
        load_style("noto", tmp_path)


def test_the_vocabulary_has_120_to_200_labels() -> None:
    assert 120 <= len(labels()) <= 200
    assert len({label.casefold() for label in labels()}) == len(labels())


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tower, Texts, Path]:
    work = tmp_path_factory.mktemp("pocket")
    torch.manual_seed(0)
    tokenizer = train_tokenizer(NAMES, work / "tokenizer")
    return Tower(len(tokenizer)).eval(), Texts(tokenizer, NAMES, ["zebra", "violet"]), work


def test_the_tokenizer_splits_known_words_as_clip_does(tower: tuple[Tower, Texts, Path]) -> None:
    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPTokenizer

    clip, own = SimpleTokenizer(), CLIPTokenizer.from_pretrained(tower[2] / "tokenizer")
    for name in NAMES:
        text = f"This is a photo of a {name}"
        wanted = [clip.decoder[number] for number in clip.encode(text)]
        assert own.convert_ids_to_tokens(own(text)["input_ids"])[1:-1] == wanted


def test_the_exported_models_answer_as_the_tower_does(
    tower: tuple[Tower, Texts, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import open_clip

    model, texts, _ = tower
    for weight in model.parameters():
        weight.data = weight.data.half().float()
    torch.save({"average": model.state_dict()}, tmp_path / "tower.ckpt")
    monkeypatch.setattr(export, "MODELS", tmp_path / "models")
    monkeypatch.setattr(export, "labels", lambda: NAMES)
    export.export_tower(tmp_path / "tower.ckpt")
    register()
    tagger, _ = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path}/models/tagger")
    detector = PocketOwlv2.from_pretrained(tmp_path / "models" / "detector", attn_implementation="eager").float()
    images, ids = torch.rand(2, 3, 256, 256), texts.known
    pixels = (images - model.mean) / model.deviation
    with torch.no_grad():
        wanted = model(images, ids)
        embeddings, words = tagger.eval().encode_image(pixels, normalize=True), tagger.encode_text(ids, normalize=True)
        tags = embeddings @ words.T * tagger.logit_scale.exp() + tagger.logit_bias
        mask = torch.ones_like(ids)
        found = detector.eval()(input_ids=ids.repeat(2, 1), attention_mask=mask.repeat(2, 1), pixel_values=pixels)
    torch.testing.assert_close(tags, wanted.tags, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.logits, wanted.logits, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.pred_boxes, wanted.boxes.sigmoid(), atol=1e-4, rtol=0)


def test_training_can_start_from_what_ships(tmp_path: Path) -> None:
    shipped = export.shipped_tower()
    tower = Tower(len(shipped[export.TOKEN_TABLE]))
    tower.load_state_dict(shipped)
    build_sam().load_state_dict(export.shipped_segmenter())


def test_tokens_that_the_shipped_tokenizer_lacks_start_from_their_letters(tmp_path: Path) -> None:
    from transformers import CLIPTokenizer

    shipped = export.shipped_tower()[export.TOKEN_TABLE]
    own = CLIPTokenizer.from_pretrained(export.MODELS / "tagger").get_vocab()
    tokens = train_tokenizer([*labels(), "zyzzyva"], tmp_path).get_vocab()
    rows = export.shipped_tower(tokens)[export.TOKEN_TABLE]
    kept = [token for token in tokens if token in own]
    torch.testing.assert_close(rows[[tokens[token] for token in kept]], shipped[[own[token] for token in kept]])
    new = next(token for token in tokens if token not in own)
    letters = [*new.removesuffix("</w>")]
    letters[-1] += new[len("".join(letters)) :]
    torch.testing.assert_close(rows[tokens[new]], shipped[[own[letter] for letter in letters]].mean(0))


def test_a_draw_names_every_label_once_and_keeps_its_last_word(tower: tuple[Tower, Texts, Path]) -> None:
    texts, rng = tower[1], np.random.default_rng(0)
    own = {name: texts.encode([name])[0].tolist() for name in NAMES}
    for _ in range(20):
        ids = texts.draw(rng, 5).tolist()
        assert len(ids) == len(NAMES) + 5
        for row, name in zip(ids, NAMES, strict=False):
            word = own[name][1 : own[name].index(max(own[name]))]
            assert any(row[at : at + len(word)] == word for at in range(len(row)))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    path = tmp_path_factory.mktemp("pool") / "few"
    write_pool(path, 6, 1, bank([drawings()], NAMES), DENSE, fast=False)
    return Pool(path)


def test_a_mirrored_batch_keeps_boxes_on_their_objects(pool: Pool) -> None:
    for seed in range(6):
        batch = pool.draw(np.random.default_rng(seed), 3)
        for row in range(3):
            for number in range(int((batch.labels[row] >= 0).sum())):
                rows, columns = torch.nonzero(batch.instances[row] == number + 1, as_tuple=True)
                box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                assert batch.xyxy[row, number].tolist() == [float(edge) for edge in box]


def test_losses_are_finite_and_teach_every_part(pool: Pool, tower: tuple[Tower, Texts, Path]) -> None:
    torch.manual_seed(0)
    config: Any = tower[0].detector.config
    model, texts = Tower(config.text_config.vocab_size), tower[1]
    batch = pool.draw(np.random.default_rng(0), 2)
    out = model(batch.images, texts.draw(np.random.default_rng(0)))
    loss, _ = detection_loss(out, batch)
    (loss + tag_loss(out, batch)).backward()
    assert torch.isfinite(loss)
    unused = {"owlv2.visual_projection", "owlv2.logit_scale"}
    idle = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert all(any(part in name for part in unused) for name in idle)


def test_a_false_answer_for_a_whole_image_costs_more_the_surer_it_is() -> None:
    labels = torch.tensor([[0, -1]])
    costs = []
    for sure in (-4.0, 0.0, 4.0):
        logits = torch.full((1, 3, 2), -6.0)
        logits[0, 1, 0], logits[0, 2, 1] = 2.0, sure
        none = torch.zeros(1, 3)
        costs.append(float(presence_loss(Outputs(logits, none, none, none, none, none), labels)))
    assert costs == sorted(costs)
    assert costs[2] > 10 * costs[1] > 10 * costs[0]


def test_prompting_several_images_at_once_equals_sam_itself(pool: Pool) -> None:
    torch.manual_seed(0)
    sam = build_sam().eval()
    batch = pool.take(np.array([0, 1]))
    sparse, _, _ = prompts(np.random.default_rng(0), sam, batch, 2)
    with torch.no_grad():
        features = sam.image_encoder((batch.images * 255 - sam.pixel_mean) / sam.pixel_std)
        together, _ = decode(sam, features, sparse, 2)
        dense = sam.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(2, -1, 32, 32)
        place = sam.prompt_encoder.get_dense_pe()
        alone, _ = sam.mask_decoder(features[1:], place, sparse[2:], dense, multimask_output=True)
    torch.testing.assert_close(together[2:, 1:], alone, atol=1e-4, rtol=1e-4)


def test_without_its_fine_parts_the_sam_answers_as_the_librarys(pool: Pool) -> None:
    """What was trained as a plain Sam goes on as one: the parts that see finer start at nothing."""
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder

    torch.manual_seed(0)
    sam = build_sam().eval()
    image = pool.take(np.array([0])).images * 255
    with torch.no_grad():
        pixels = sam.preprocess(image[0])[None]
        features = sam.image_encoder(pixels)
        plain = ImageEncoderViT.forward(sam.image_encoder, pixels)
        sparse, dense = sam.prompt_encoder(points=None, boxes=torch.tensor([[20.0, 30, 90, 120]] * 2), masks=None)
        asked = sam.prompt_encoder.get_dense_pe(), sparse, dense
        found = sam.mask_decoder.predict_masks(features, *asked)
        wanted = MaskDecoder.predict_masks(sam.mask_decoder, plain, *asked)
        torch.testing.assert_close(features[:, : plain.shape[1]], plain)
        assert not features[:, plain.shape[1] :].any()
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
        sam.image_encoder.fine_half[-1].weight.normal_()
        sam.image_encoder.fine_quarter.weight.normal_()
        finer, _ = sam.mask_decoder.predict_masks(sam.image_encoder(pixels), *asked)
    assert not torch.allclose(finer, wanted[0], atol=1e-2)


def job(steps: list[int]) -> Job:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 3)

    def step(rng: np.random.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        steps.append(1)
        loss = model(torch.from_numpy(rng.standard_normal((4, 3)).astype(np.float32))).pow(2).mean()
        return loss, {"loss": loss.item()}

    optimizer = Optimizer(model, 1e-2, 1e-2, lambda name: True)
    return Job(model, optimizer, step, dict, list(model.parameters()), 1.0)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="training needs torch 2.9 (the extra train says so)")
def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    taken: list[int] = []
    whole, first, second = job([]), job([]), job(taken)
    run(whole, tmp_path / "whole.ckpt", 8, seed=1, every=4)
    real_step = first.step

    def dies(rng: np.random.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        if (tmp_path / "broken.ckpt").exists():
            raise KeyboardInterrupt
        return real_step(rng)

    first.step = dies
    with pytest.raises(KeyboardInterrupt):
        run(first, tmp_path / "broken.ckpt", 8, seed=1, every=4)
    run(second, tmp_path / "broken.ckpt", 8, seed=1, every=4)
    assert len(taken) == 4
    torch.testing.assert_close(second.model.state_dict(), whole.model.state_dict())


@pytest.mark.parametrize(
    ("step", "share", "factor"),
    [
        pytest.param(0, 0.0, 0.01, id="start"),
        pytest.param(99, 0.01, 1.0, id="warm"),
        pytest.param(500, 0.6, 1.0, id="steady"),
        pytest.param(800, 0.8, 0.51, id="half way down"),
        pytest.param(999, 1.0, 0.02, id="end"),
    ],
)
def test_the_learning_rate_is_steady_then_falls(step: int, share: float, factor: float) -> None:
    assert steady_then_down(step, share) == pytest.approx(factor)


def test_a_run_ends_by_the_clock_and_keeps_where_it_began_to_end(tmp_path: Path, monkeypatch: Any) -> None:
    clock = iter(range(0, 10**6, 6))
    monkeypatch.setattr("training.loop.time.monotonic", lambda: next(clock))
    taken: list[int] = []
    run(job(taken), tmp_path / "short.ckpt", 10**6, seed=1, minutes=2)
    kept = torch.load(tmp_path / "short.steady", weights_only=True)
    assert 0 < kept["step"] < len(taken) < 20
    assert torch.load(tmp_path / "short.ckpt", weights_only=True)["step"] == len(taken)


@pytest.mark.parametrize(
    ("found", "given", "wanted", "score"),
    [pytest.param(2, 4, 2, 2 / 3, id="half of it noise"), pytest.param(0, 0, 3, 0.0, id="nothing found")],
)
def test_f1(found: int, given: int, wanted: int, score: float) -> None:
    assert evaluate.f1(found, given, wanted)["f1"] == pytest.approx(score)


def test_the_truth_itself_scores_one() -> None:
    from openvocab import Detections

    made = [scene(seed) for seed in range(5)]
    sure = [np.full(len(each.labels), 0.9, np.float32) for each in made]
    found = [
        Detections(each.xyxy, score, tuple(NAMES[at] for at in each.labels), score, score, evaluate.scene_masks(each))
        for each, score in zip(made, sure, strict=True)
    ]
    assert evaluate.box_ap50(found, made, NAMES) == pytest.approx(1.0)
    for detections, each in zip(found, made, strict=True):
        assert evaluate.matched(detections, detections.labels, evaluate.scene_masks(each)) == len(each.labels)


def test_shifted_boxes_score_nothing() -> None:
    from openvocab import Detections

    made = [scene(seed, SINGLE) for seed in range(3)]
    sure = np.full(1, 0.9, np.float32)
    found = [Detections(each.xyxy + 300, sure, (NAMES[each.labels[0]],), sure) for each in made]
    assert evaluate.box_ap50(found, made, NAMES) == 0.0


def test_detector_configuration_round_trips() -> None:
    config: Any = detector_config(300)
    assert (config.vision_config.image_size, config.text_config.vocab_size) == (256, 300)
