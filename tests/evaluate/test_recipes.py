"""Recipes: shipped ones are consistent, and a test recipe runs from files to a verdict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import openvocab
from openvocab.errors import BadInput
from openvocab.evaluate.data import load_labeled
from openvocab.evaluate.measure import measure_tagger
from openvocab.evaluate.recipes import Recipe, read_recipes, recipe_data, recipes, reproduce
from openvocab.evaluate.runs.tagger import run_tagger

WHOLE = """
[data.things]
name = "twenty things"
kind = "imagefolder"
images = 200
prompts = "simple"
get = "https://example.org/things.tar"
[source.paper]
url = "https://example.org/paper"
[recipe.tiny]
spec = "open_clip:tiny"
data = "things"
source = "paper"
top1 = {top1}
tolerance = 0.01
"""


def written(folder: Path, text: str) -> str:
    (folder / "own.toml").write_text(text, "utf-8")
    return str(folder / "own.toml")


def shipped(name: str) -> Recipe:
    """Return a recipe of a data set that ships."""
    found = recipes()[name]
    assert isinstance(found, Recipe)
    return found


def own(folder: Path, text: str) -> Recipe:
    """Return the recipe tiny of a test file."""
    found = read_recipes(written(folder, text))["tiny"]
    assert isinstance(found, Recipe)
    return found


TEMPLATES = {"imagenet": 80, "imagenet_classes": 1}
SOURCES = {
    "open_clip": "open_clip/blob/f862f86cd92123615a8695ce",
    "classifier": "pytorch-image-models/blob/0173a139a2c6",
}


def test_shipped_recipes_have_a_published_source_and_a_known_data_set():
    of_sets = {name: each for name, each in recipes().items() if isinstance(each, Recipe)}
    assert len(of_sets) == 7
    for name, each in of_sets.items():
        assert each.name == name and SOURCES[each.spec.partition(":")[0]] in each.source
        assert len(openvocab.prompt_set(each.prompts).templates) == TEMPLATES.get(each.kind, 18)
        assert 0.5 < each.top1 < 1 and 0 < each.tolerance < 0.01
    assert {each.spec for each in of_sets.values()} >= {"open_clip:ViT-B-32/laion2b_s34b_b79k"}


@pytest.mark.parametrize(
    ("benchmark", "ours"), [("cifar10", "cifar18"), ("cifar100", "cifar18"), ("imagenet1k", "openai80")]
)
def test_prompts_are_those_of_clip_benchmark(benchmark, ours):
    import json
    from importlib.resources import files

    pytest.importorskip("clip_benchmark")
    text = files("clip_benchmark").joinpath("datasets/en_zeroshot_classification_templates.json").read_text("utf-8")
    expected = tuple(line.replace("{c}", "{label}") for line in json.loads(text)[benchmark])
    assert openvocab.prompt_set(ours).templates == expected


@pytest.mark.parametrize(
    ("off", "images", "passed"),
    [
        pytest.param(0.0, 200, True, id="the same"),
        pytest.param(0.009, 200, True, id="within the tolerance"),
        pytest.param(0.02, 200, False, id="misses"),
        pytest.param(0.0, 199, False, id="other images"),
    ],
)
def test_a_recipe_passes_or_fails(off, images, passed, tiny_tagger, image_folder, tmp_path):
    tagger = openvocab.load_tagger(tiny_tagger, "cpu", "float32")
    run = run_tagger(tagger, load_labeled(str(image_folder), "imagefolder"), openvocab.prompt_set("simple"))
    published = measure_tagger(run, False, tagger.independent, resamples=2).top1.value + off  # type: ignore[union-attr]
    text = WHOLE.format(top1=published).replace("images = 200", f"images = {images}")
    recipe = own(tmp_path, text)
    made = reproduce(recipe, tagger, recipe_data(recipe, str(image_folder)))
    assert made.passed is passed
    assert made.gap == pytest.approx(-off, abs=1e-9)
    assert made.missing == images - 200


def test_a_web_dataset_replaces_any_data_set(web_dataset):
    data = recipe_data(shipped("vit-b-32-laion2b-cifar10"), str(web_dataset))
    assert data.labels[0] == "thing 00"


def test_missing_data_are_reported_with_where_to_download_them(tmp_path):
    with pytest.raises(BadInput, match=r"no cifar-10-batches-py/ in it.*from https://www.cs.toronto.edu/"):
        recipe_data(shipped("vit-b-32-laion2b-cifar10"), str(tmp_path))


def synsets(root: Path, count: int, name: str = "n{:08}") -> Path:
    for number in range(count):
        (root / "val" / name.format(number)).mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(root / "val" / name.format(1) / "1.png")
    return root


@pytest.mark.filterwarnings("ignore::openvocab.errors.OpenVocabWarning")
def test_imagenet_labels_are_the_names_of_openai(tmp_path):
    data = recipe_data(shipped("vit-b-32-laion2b-imagenet"), str(synsets(tmp_path, 1000)))
    assert data.labels[:2] == ("tench", "goldfish") and len(data.labels) == 1000
    assert [one.labels for one in data.images()] == [(1,)]


@pytest.mark.filterwarnings("ignore::openvocab.errors.OpenVocabWarning")
@pytest.mark.parametrize(
    ("count", "name", "says"),
    [
        pytest.param(3, "n{:08}", "has 3 folders instead of one folder per", id="too few"),
        pytest.param(3, "thing {}", "has the folder 'thing 0' instead of", id="other names"),
    ],
)
def test_imagenet_refuses_folders_that_are_not_synsets(count, name, says, tmp_path):
    with pytest.raises(BadInput, match=says):
        recipe_data(shipped("vit-b-32-laion2b-imagenet"), str(synsets(tmp_path, count, name)))


def test_a_classifier_is_measured_by_index_whatever_its_classes_are_called(image_folder, tmp_path):
    """Folders are the classes in their order; the tiny classifier has other names for them."""
    spec = f"classifier:{write_classifier(tmp_path / 'model', image_folder)}"
    tagger = openvocab.load_tagger(spec, "cpu", "float32")
    files = sorted(image_folder.rglob("*.png"), key=lambda file: (file.parent.name, file.name))
    logits = tagger.encode_images([openvocab.read_image(file) for file in files])
    expected = np.mean(
        [f"thing {row:02}" == file.parent.name for row, file in zip(logits.argmax(1), files, strict=True)]
    )
    text = WHOLE.format(top1=expected).replace("open_clip:tiny", spec).replace('"imagefolder"', '"imagenet_classes"')
    recipe = own(tmp_path, text)
    made = reproduce(recipe, tagger, load_labeled(str(image_folder), "imagefolder"))
    assert made.passed and made.gap == pytest.approx(0, abs=1e-9)


def write_classifier(folder: Path, image_folder: Path) -> str:
    """Write a timm classifier with a class for each folder, numbered from the end."""
    import json

    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    count = len(list(image_folder.iterdir()))
    model = timm.create_model("mobilenetv3_small_050", num_classes=count)
    folder.mkdir()
    save_file(dict(model.state_dict()), folder / "model.safetensors")
    names = [f"class {count - row}" for row in range(count)]
    config = {"architecture": "mobilenetv3_small_050", "num_classes": count, "label_names": names}
    config["pretrained_cfg"] = {"input_size": [3, 32, 32]}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return str(folder)


def test_the_accuracy_of_a_classifier_is_refused_for_other_models(tiny_tagger, image_folder, tmp_path):
    text = WHOLE.format(top1=0.5).replace('"imagefolder"', '"imagenet_classes"')
    recipe = own(tmp_path, text)
    tagger = openvocab.load_tagger(tiny_tagger, "cpu", "float32")
    with pytest.raises(BadInput, match="tiny needs a classifier with 20 classes, and open_clip:tiny is none"):
        reproduce(recipe, tagger, load_labeled(str(image_folder), "imagefolder"))


@pytest.mark.filterwarnings("ignore::openvocab.errors.OpenVocabWarning")
def test_imagenet_for_a_classifier_keeps_the_synsets(tmp_path):
    data = recipe_data(shipped("efficientnet-lite2-imagenet"), str(synsets(tmp_path, 1000)))
    assert data.labels[:2] == ("n00000000", "n00000001") and len(data.labels) == 1000


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("[", "is not TOML", id="broken"),
        pytest.param("", r"has no \[recipe.NAME\] or \[example.NAME\]", id="empty"),
        pytest.param(WHOLE.format(top1=0.5) + "[example.tiny]", "two recipes named 'tiny'", id="a name twice"),
        pytest.param(
            WHOLE.format(top1=0.5).replace("tolerance", "tol"), "missing or invalid 'tolerance'", id="a missing key"
        ),
        pytest.param(WHOLE.format(top1='"x"'), "recipe 'tiny': missing or invalid could not convert", id="no number"),
        pytest.param(WHOLE.format(top1=50), "has a top1 outside 0 to 1", id="per cent"),
        pytest.param(WHOLE.format(top1=0.5).replace("imagefolder", "CIFAR11"), "data of kind 'CIFAR11'", id="kind"),
    ],
)
def test_bad_files(text, says, tmp_path):
    with pytest.raises(BadInput, match=says):
        read_recipes(written(tmp_path, text))
