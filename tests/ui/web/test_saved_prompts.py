"""A prompt file gives one answer in Python, on the command line, in a run and on the page; the page saves one."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import openvocab
from openvocab import BadInput, Exemplar, Mark, Prompt, read_prompt
from openvocab.pipeline.masks import decode_mask
from openvocab.ui.cli.main import main

pytest.importorskip("gradio")

SCENE, OTHER = openvocab.example_scenes()[:2]
IMAGE = openvocab.read_image(SCENE.path)
WORDS = ", ".join(SCENE.labels)
TENT, UMBRELLA = SCENE.xyxy[0], SCENE.xyxy[1]


@pytest.fixture(scope="module")
def handlers(server: Any) -> Any:
    from openvocab.ui.web.context import Context
    from openvocab.ui.web.saved_prompts.panel import PromptHandlers
    from openvocab.ui.web.workspace_handlers import WorkspaceHandlers

    context = Context(server.context.models)
    return PromptHandlers(context, WorkspaceHandlers(context))


def saved(prompt: Prompt, here: Path) -> Path:
    prompt.save(here / "prompt.json")
    return here / "prompt.json"


def prompt_of(kind: str) -> Prompt:
    """A prompt with words, what is not meant, and an exemplar of a word or under a name that no model reads."""
    shown = Exemplar.cut(IMAGE, "part 17" if kind == "unnamed" else SCENE.labels[0], TENT)
    words = SCENE.labels[2:] if kind == "unnamed" else (SCENE.labels[0], *SCENE.labels[2:])
    return Prompt(words, [shown], ["handbag"], [Exemplar.cut(IMAGE, "not this", UMBRELLA)])


def run(handlers: Any, words: str = WORDS, negatives: str = "", key: Any = None, token: Any = None) -> tuple[Any, ...]:
    thresholds = handlers._workspace.defaults("pocket")
    *_, last = handlers.run(str(SCENE.path), words, "pocket", token, negatives, key, *thresholds)
    return last  # type: ignore[no-any-return]


def workspace_of(handlers: Any, token: str) -> Any:
    return handlers._context.workspaces.get(token)


def loaded(handlers: Any, prompt: Prompt, here: Path) -> tuple[str, str, str]:
    words, negatives, key, note = handlers.load([str(saved(prompt, here))])
    assert "Press Run" in note["text"]
    return words, negatives, key


@pytest.mark.parametrize("kind", ["named", "unnamed"])
def test_a_saved_prompt_gives_one_answer_everywhere(kind: str, handlers: Any, client: Any, tmp_path: Path) -> None:
    from gradio_client import handle_file

    prompt, here = prompt_of(kind), tmp_path
    path = saved(prompt, here)
    expected = openvocab.load("pocket", device="cpu")(SCENE.path, read_prompt(path))
    assert len(expected) > 0
    command = ["annotate", str(SCENE.path), "--prompt", str(path), "--device", "cpu", "--no-images"]
    assert main([*command, "--out", str(here / "run")]) == 0
    batch = openvocab.read_run(here / "run")
    (row,) = batch
    words, negatives, key = loaded(handlers, prompt, here)
    page = workspace_of(handlers, run(handlers, words, negatives, key)[2]).result()
    call = client.predict(handle_file(str(SCENE.path)), [handle_file(str(path))], api_name="/prompt")
    uploads = [handle_file(str(SCENE.path))], "", "", "annotate", "parquet", "pocket", False, [handle_file(str(path))]
    _, packed = client.predict(*uploads, api_name="/batch")
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(here / "packed")
    several = openvocab.read_run(here / "packed" / "run")
    assert {batch.record["prompt"], several.record["prompt"], page.run.prompt, call["run"]["prompt"]} == {prompt.digest}
    for found in (row.detections, several[0].detections, page.detections):
        assert found is not None
        assert found.labels == expected.detections.labels
        np.testing.assert_allclose(found.xyxy, expected.detections.xyxy, atol=1e-3)
        np.testing.assert_allclose(found.scores, expected.detections.scores, atol=1e-5)
    assert [each["label"] for each in call["detections"]] == list(expected.detections.labels)
    np.testing.assert_allclose([each["score"] for each in call["detections"]], expected.detections.scores, atol=1e-5)
    tags = [tag.label for tag in expected.tags]
    assert (
        tags
        == [tag.label for tag in page.tags]
        == [tag.label for tag in row.tags]
        == [t["label"] for t in call["tags"]]
    )
    assert (page.run.tagger is None) == (kind == "unnamed")


def test_what_was_loaded_is_saved_again_with_the_same_digest(handlers: Any, tmp_path: Path) -> None:
    prompt = prompt_of("named")
    words, negatives, key = loaded(handlers, prompt, tmp_path)
    assert read_prompt(handlers.save(None, words, negatives, key, False)).digest == prompt.digest


@pytest.mark.parametrize("labels", [("a, b", "c"), ("pocket",), ("a; b",), ("[a]", "b")], ids=str)
def test_labels_that_commas_cannot_separate_stay_whole(labels: tuple[str, ...], handlers: Any, tmp_path: Path) -> None:
    prompt = Prompt(labels, negative_labels=["d, e"])
    words, negatives, key = loaded(handlers, prompt, tmp_path)
    assert read_prompt(handlers.save(None, words, negatives, key, False)).digest == prompt.digest


def test_words_alone_are_asked_for_as_words(handlers: Any, tmp_path: Path) -> None:
    token = run(handlers)[2]
    assert workspace_of(handlers, token).raw().run.prompt == ""
    assert read_prompt(handlers.save(token, WORDS, "", None, False)).digest == Prompt(SCENE.labels).digest


def test_a_negative_word_takes_its_boxes(handlers: Any) -> None:
    words = ", ".join(SCENE.labels[1:])
    found = workspace_of(handlers, run(handlers, words, SCENE.labels[0])[2]).result()
    assert sorted(found.detections.labels) == sorted(SCENE.labels[1:])
    assert found.run.prompt == Prompt(SCENE.labels[1:], negative_labels=SCENE.labels[:1]).digest


def event(**parts: Any) -> Any:
    return SimpleNamespace(serial=1, **parts)


@pytest.fixture
def edited(handlers: Any) -> str:
    """The scene after a run, in which the tent was renamed and the umbrella deleted."""
    message, _, token = run(handlers)
    keys = {each["label"]: each["key"] for each in message["objects"]}
    handlers._workspace.edit(token, event(do="rename", keys=[keys[SCENE.labels[0]]], name="part 17"))
    handlers._workspace.edit(token, event(do="remove", key=keys[SCENE.labels[1]]))
    return token  # type: ignore[no-any-return]


def test_objects_that_a_person_changed_are_exemplars_and_deleted_ones_are_not_meant(handlers: Any, edited: str) -> None:
    made = read_prompt(handlers.save(edited, WORDS, "", None, False))
    assert (made.labels, made.unnamed) == (SCENE.labels, ("part 17",))
    assert [each.label for each in made.negative_exemplars] == [SCENE.labels[1]]
    assert made.exemplars[0].mask is not None
    pipe = openvocab.load("pocket", device="cpu")
    found = pipe(SCENE.path, Prompt(SCENE.labels[2:], made.exemplars, (), made.negative_exemplars)).detections
    assert sorted(found.labels) == sorted(["part 17", *SCENE.labels[2:]])


def test_marks_of_a_prompt_are_objects_of_the_image(handlers: Any, edited: str, tmp_path: Path) -> None:
    made = read_prompt(handlers.save(edited, WORDS, "", None, True))
    assert [each.label for each in made.marks] == ["part 17"] and not made.exemplars
    words, negatives, key = loaded(handlers, made, tmp_path)
    got = workspace_of(handlers, run(handlers, words, negatives, key)[2]).result()
    expected = openvocab.load("pocket", device="cpu")(SCENE.path, made)
    assert sorted(got.detections.labels) == sorted(expected.detections.labels)
    assert got.run.prompt == expected.run.prompt == made.digest
    rows = [found.detections.labels.index("part 17") for found in (got, expected)]
    masks = [np.asarray(found.detections.masks)[row] for found, row in zip((got, expected), rows, strict=True)]
    np.testing.assert_array_equal(*masks)


def test_marks_alone_call_no_detector(handlers: Any, tmp_path: Path) -> None:
    left, top, right, bottom = TENT
    prompt = Prompt(marks=[Mark("mine", points=[((left + right) / 2, (top + bottom) / 2)])])
    words, negatives, key = loaded(handlers, prompt, tmp_path)
    before = dict(handlers._context.models.calls)
    message, _, _ = run(handlers, words, negatives, key)
    assert [each["label"] for each in message["objects"]] == ["mine"]
    assert decode_mask(message["objects"][0]["mask"])[int((top + bottom) / 2), int((left + right) / 2)]
    after = handlers._context.models.calls
    assert {name for name in after if after[name] != before.get(name, 0)} == {"segmenter.encode", "segmenter.prompt"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("{}", "prompt file 'broken.json' cannot be used: it is not of the format", id="no prompt"),
        pytest.param("[", "prompt file 'broken.json' is not valid JSON", id="no JSON"),
    ],
)
def test_a_file_that_is_no_prompt_is_refused_without_its_path(
    text: str, says: str, handlers: Any, tmp_path: Path
) -> None:
    (tmp_path / "broken.json").write_text(text, "utf-8")
    with pytest.raises(BadInput, match=says) as caught:
        handlers.load([str(tmp_path / "broken.json")])
    assert str(tmp_path) not in str(caught.value)


def test_a_small_file_with_huge_images_is_refused_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from openvocab.ui.web.saved_prompts import page_prompt

    path = saved(Prompt(exemplars=[Exemplar("a", np.zeros((300, 400, 3), np.uint8), (0, 0, 9, 9))] * 2), tmp_path)
    assert len(page_prompt.read_upload([str(path)], 240_000).exemplars) == 2
    monkeypatch.setattr(openvocab, "read_prompt", lambda path: pytest.fail("it was read"))
    with pytest.raises(BadInput, match="the images in 'prompt.json' have 240000 pixels, over 239999"):
        page_prompt.read_upload([str(path)], 239_999)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        pytest.param(lambda made: made.load([]), "there is no prompt file; choose one", id="no file"),
        pytest.param(lambda made: made.save(None, "", "", None, False), "there is nothing to save", id="nothing"),
        pytest.param(lambda made: run(made, key="gone"), "is no longer stored on the server; choose it", id="evicted"),
        pytest.param(
            lambda made: run(made, "tent", "tent"), "'tent' stands for the label 'tent' and", id="meant and not"
        ),
    ],
)
def test_what_cannot_be_done_is_one_sentence(call: Any, says: str, handlers: Any) -> None:
    with pytest.raises(BadInput, match=says):
        call(handlers)


def test_a_person_loads_a_prompt_file_runs_it_and_saves_it(page: Any, server: Any, tmp_path: Path) -> None:
    prompt = prompt_of("named")
    page.locator("#work-image input[type=file]").first.set_input_files(str(SCENE.path))
    page.locator("#work-note", has_text="Press Run").wait_for()
    page.locator("#work-prompt button").first.click()
    page.locator("#work-prompt-file input[type=file]").set_input_files(str(saved(prompt, tmp_path)))
    page.locator("#work-prompt-note", has_text="prompt.json: 1 exemplar, 1 negative exemplar. Press Run").wait_for()
    assert page.locator("#work-labels textarea").input_value() == ", ".join(prompt.labels)
    assert page.locator("#work-negatives :is(input, textarea)").input_value() == "handbag"
    page.locator("#work-run").click()
    page.locator("#work-note", has_text="detections in").wait_for()
    fields = page.locator(".cv-objects input[type=text]")
    names = [fields.nth(row).input_value() for row in range(fields.count())]
    assert names == list(openvocab.load("pocket", device="cpu")(SCENE.path, prompt).detections.labels)
    with page.expect_download() as download:
        page.locator("#work-prompt-save").click()
    assert download.value.suggested_filename == "prompt.json"
    download.value.save_as(tmp_path / "saved.json")
    assert read_prompt(tmp_path / "saved.json").digest == prompt.digest
