"""A prompt is a value: it is checked when it is made, and a file gives back what was saved or says what is wrong."""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from openvocab import BadInput, CannotWrite
from openvocab.prompts import Exemplar, Mark, Prompt, read_prompt
from openvocab.prompts.prompt import MEMORY

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
OTHER = IMAGE[::-1].copy()
"""Another image of the same size."""
MASK = np.zeros((60, 90), np.bool_)
MASK[20:30, 40:55] = True
BOX = (40.0, 20.0, 55.0, 30.0)


def whole() -> Prompt:
    """A prompt with everything in it."""
    return Prompt(
        labels=("mug", "tea spoon"),
        exemplars=(Exemplar.cut(IMAGE, "mug", BOX), Exemplar.cut(IMAGE, "part 17", mask=MASK)),
        negative_labels=("saucer",),
        negative_exemplars=(Exemplar.cut(IMAGE, "lid", points=[(5, 6), (7.5, 8)]),),
        marks=(Mark("mug", points=[(1, 2)], outside=[(3, 4)], scribbles=[[(5, 6), (7, 8)]]), Mark(box=BOX, mask=MASK)),
        memory=(Exemplar.cut(IMAGE, "mug", (0, 0, 10, 10)),),
    )


def test_a_saved_prompt_is_the_same_prompt(tmp_path: Path) -> None:
    prompt = whole()
    prompt.save(tmp_path / "mugs.json")
    again = read_prompt(tmp_path / "mugs.json")
    assert again.digest == prompt.digest
    assert again.plain() == prompt.plain()
    np.testing.assert_array_equal(again.exemplars[0].image, prompt.exemplars[0].image)
    assert [path.name for path in tmp_path.iterdir()] == ["mugs.json"]
    assert pickle.loads(pickle.dumps(prompt)).digest == prompt.digest


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"labels": ("mug",)}, id="label"),
        pytest.param({"exemplars": (Exemplar.cut(IMAGE, "mug", (41, 20, 55, 30)),)}, id="box"),
        pytest.param({"exemplars": (Exemplar.cut(OTHER, "mug", BOX),)}, id="pixels"),
        pytest.param({"negative_exemplars": (), "exemplars": whole().exemplars}, id="negatives"),
        pytest.param({"marks": (Mark("mug", points=[(1, 2)]),)}, id="marks"),
        pytest.param({"memory": ()}, id="memory"),
    ],
)
def test_the_digest_sees_every_part(changed: dict[str, Any]) -> None:
    given = {name: getattr(whole(), name) for name in Prompt.__slots__}
    assert Prompt(**given).digest == whole().digest
    assert Prompt(**{**given, **changed}).digest != whole().digest


def test_a_prompt_prints_no_pixels() -> None:
    assert repr(Exemplar.cut(IMAGE, "mug", BOX)).startswith("Exemplar(label='mug', box=(")
    assert "array(" not in repr(whole())


def test_an_exemplar_is_a_crop_three_times_as_large_and_at_most_1024_pixels() -> None:
    exemplar = Exemplar.cut(np.zeros((1500, 4000, 3), np.uint8), "mug", (1000, 500, 2000, 1000))
    assert exemplar.image.shape == (512, 1024, 3)
    np.testing.assert_allclose(np.array(exemplar.box), (341.3, 170.7, 682.7, 341.3), atol=0.1)
    small = Exemplar.cut(IMAGE, "mug", BOX)
    np.testing.assert_array_equal(np.array(small.box), (15, 18, 30, 28))
    np.testing.assert_array_equal(small.image, IMAGE[2:48, 25:70])


def test_a_mask_gives_its_box_and_is_cropped_with_the_image() -> None:
    exemplar = Exemplar.cut(IMAGE, "mug", mask=MASK)
    assert exemplar.box == Exemplar.cut(IMAGE, "mug", BOX).box
    assert np.asarray(exemplar.mask).sum() == MASK.sum()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(lambda: Exemplar.cut(IMAGE, "mug"), "needs a box, a mask or points", id="nothing"),
        pytest.param(lambda: Exemplar("mug", IMAGE, BOX, points=[(1, 1)]), "needs a box, a mask or points", id="two"),
        pytest.param(
            lambda: Exemplar.cut(IMAGE, "mug", (90, 0, 99, 9)), "holds no pixel of its image, 90 x 60", id="out"
        ),
        pytest.param(lambda: Exemplar.cut(IMAGE, "mug", (1, 2, 3)), "must be 4 finite numbers", id="three numbers"),
        pytest.param(
            lambda: Exemplar.cut(IMAGE, "mug", points=[(91, 2)]), "lies outside its image, 90 x 60", id="point"
        ),
        pytest.param(lambda: Exemplar.cut(IMAGE, "mug", mask=MASK[:9]), "of its image's size", id="mask"),
        pytest.param(
            lambda: Exemplar.cut(IMAGE.astype(float), "mug", BOX), "must be .* uint8; use read_image", id="float"
        ),
        pytest.param(lambda: Exemplar.cut(IMAGE, " ", BOX), "label 1 is blank", id="label"),
        pytest.param(lambda: Mark("mug"), "a mark needs a point, a scribble, a box or a mask", id="mark"),
        pytest.param(lambda: Mark(outside=[(1, 1)]), "a mark needs a point", id="mark outside"),
        pytest.param(lambda: Mark(points=[(1, np.nan)]), "must be 2 finite numbers: x, y", id="mark nan"),
        pytest.param(lambda: Mark(mask=np.zeros(3, np.bool_)), "must be .height, width. bool", id="mark mask"),
        pytest.param(lambda: Prompt(("mug",), negative_labels=("Mug",)), "'Mug' stands for the label 'mug'", id="both"),
        pytest.param(
            lambda: Prompt(("mug",), (Exemplar.cut(IMAGE, "Mug", BOX),)), "'mug' and 'Mug', are the same", id="twin"
        ),
    ],
)
def test_what_cannot_be_used_is_refused_where_it_is_made(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        make()


def _png(size: tuple[int, int]) -> str:
    with BytesIO() as file:
        Image.new("L", size).save(file, "PNG")
        return base64.b64encode(file.getvalue()).decode()


def _changed(plain: dict[str, Any], **entries: Any) -> str:
    return json.dumps({**plain, **entries})


PLAIN = whole().plain()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("{", "is not valid JSON; take an undamaged copy", id="cut off"),
        pytest.param("[1]", "is not of the format 'openvocab-prompt'", id="a list"),
        pytest.param(
            _changed(PLAIN, version=2), "has version 2, and this openvocab reads 1; update openvocab", id="newer"
        ),
        pytest.param(_changed(PLAIN, labels=["cup"]), "content is not that of its digest", id="changed"),
        pytest.param(_changed(PLAIN, masks=[]), "it has no entry 'masks'", id="unknown entry"),
        pytest.param(_changed(PLAIN, labels="mug"), "entry 'labels' must be a list, got str", id="no list"),
        pytest.param(_changed(PLAIN, exemplars=[3]), "an exemplar must be an object with box, image", id="no exemplar"),
        pytest.param(
            _changed(PLAIN, exemplars=[{"label": "a", "image": "x"}]), "image in it cannot be read", id="no PNG"
        ),
        pytest.param(
            _changed(PLAIN, exemplars=[{"label": "a", "image": _png((5000, 5000)), "box": [0, 0, 1, 1]}]),
            "pixels are more than",
            id="bomb",
        ),
        pytest.param(_changed(PLAIN, marks=[{"points": 3}]), "entry 'points' must be a list, got int", id="mark"),
    ],
)
def test_a_damaged_or_newer_file_is_refused_in_one_sentence(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "mugs.json"
    path.write_text(text, "utf-8")
    with pytest.raises(BadInput, match=says) as told:
        read_prompt(path)
    assert str(told.value).startswith(f"prompt file {str(path)!r} ")
    assert "\n" not in str(told.value)


def test_a_byte_changed_in_an_image_is_noticed(tmp_path: Path) -> None:
    prompt = whole()
    plain = prompt.plain()
    other = Exemplar.cut(OTHER, "mug", BOX).plain()
    plain["exemplars"][0]["image"] = other["image"]
    (tmp_path / "p.json").write_text(json.dumps(plain), "utf-8")
    with pytest.raises(BadInput, match="content is not that of its digest"):
        read_prompt(tmp_path / "p.json")
    del plain["digest"]  # as after a change by hand
    (tmp_path / "p.json").write_text(json.dumps(plain), "utf-8")
    assert read_prompt(tmp_path / "p.json").digest != prompt.digest


def test_an_absent_file_and_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"'.*none.json' does not exist; check the path"):
        read_prompt(tmp_path / "none.json")
    with pytest.raises(CannotWrite, match=r"'.*p.json' cannot be written \(No such file or directory\)"):
        whole().save(tmp_path / "none" / "p.json")


def test_classes_are_words_then_what_has_exemplars_alone() -> None:
    assert whole().classes == ("mug", "tea spoon", "part 17")
    assert whole().unnamed == ("part 17",)
    assert [each.box for each in whole().examples_of("mug")] == [(15, 18, 30, 28), (0, 0, 10, 10)]


def test_without_takes_a_label_out_everywhere() -> None:
    rest = whole().without("mug")
    assert rest.classes == ("tea spoon", "part 17")
    assert (len(rest.memory), len(rest.marks), rest.negative_labels) == (0, 1, ("saucer",))
    assert whole().without("saucer").negative_labels == ()
    with pytest.raises(BadInput, match="has no label 'cup'; it has mug, tea spoon, part 17, saucer, lid"):
        whole().without("cup")


def test_memory_keeps_the_latest_of_each_label() -> None:
    shown = [Exemplar.cut(IMAGE, label, (row, 0, row + 5, 5)) for row in range(12) for label in ("mug", "lid")]
    kept = Prompt(("mug",)).remembering(*shown[:10]).remembering(*shown[10:]).memory
    assert len(kept) == 2 * MEMORY
    assert [each.digest for each in kept] == [each.digest for each in shown[-2 * MEMORY :]]
