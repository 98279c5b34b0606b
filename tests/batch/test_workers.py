"""Workers on several devices: the same rows in the same order, whoever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import openvocab
from openvocab import BadInput, BadWeights, Row, Workers
from openvocab.batch.jobs import read_devices
from tests.helpers.stages import LABELS, NAN_COLOR, save_images
from tests.helpers.workers import KILL_COLOR, FakeLoader

BOTH = ("cpu", "cpu")


def plain(row: Row) -> Any:
    """What a row says, to be compared."""
    detections = [] if row.detections is None else [(each.label, each.rle, each.xyxy) for each in row.detections]
    features = None if row.features is None else row.features.round(3).tolist()
    tags = sorted((tag.label, round(tag.score, 4)) for tag in row.tags)
    return row.id, row.sha256, row.width, row.height, row.frames, row.error_kind, row.error, tags, detections, features


def rows_in(run: Path) -> list[Any]:
    return [plain(row) for row in openvocab.read_run(run)]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Forty-five images, one of them broken, and one that the model answers with NaN."""
    folder = tmp_path / "images"
    made = save_images(folder, 45)
    made[7].write_bytes(b"")
    Image.new("RGB", (9, 9), NAN_COLOR).save(made[20])
    return folder


@pytest.mark.parametrize(
    ("devices", "loader", "options"),
    [
        pytest.param(("cpu",), FakeLoader(), {}, id="one"),
        pytest.param(BOTH, FakeLoader(), {"features": "float32", "part_rows": 7}, id="two, features"),
        pytest.param(BOTH, FakeLoader(tags_alone=False), {"draw": True}, id="two, the chain, drawn"),
        pytest.param(("cpu",) * 3, FakeLoader(batch_size=64), {"workers": 1}, id="three, batches never full"),
    ],
)
def test_the_rows_are_those_of_one_process(
    images: Path, tmp_path: Path, devices: tuple[str, ...], loader: FakeLoader, options: dict[str, Any]
) -> None:
    alone = loader("cpu").run_to(tmp_path / "alone", images, LABELS, **options)
    summary = Workers(loader, devices).run_to(tmp_path / "run", images, LABELS, **options)
    assert (summary.ok, summary.errors, summary.skipped) == (alone.ok, alone.errors, alone.skipped)
    assert rows_in(tmp_path / "run") == rows_in(tmp_path / "alone")
    drawn = [sorted(each.name for each in (tmp_path / name / "images").glob("*")) for name in ("run", "alone")]
    assert drawn[0] == drawn[1] and bool(drawn[0]) is options.get("draw", False)
    assert openvocab.read_run(tmp_path / "run").record["sessions"][0]["devices"] == list(devices)


def test_workers_take_a_prompt_and_refuse_marks(tmp_path: Path) -> None:
    save_images(tmp_path / "images", 3)
    prompt, workers = openvocab.Prompt(LABELS), Workers(FakeLoader(tags_alone=False), ("cpu",))
    workers.run_to(tmp_path / "run", tmp_path / "images", prompt)
    FakeLoader(tags_alone=False)("cpu").run_to(tmp_path / "alone", tmp_path / "images", LABELS)
    assert rows_in(tmp_path / "run") == rows_in(tmp_path / "alone")
    assert openvocab.read_run(tmp_path / "run").record["prompt"] == prompt.digest
    with pytest.raises(BadInput, match="marks, which belong to one image"):
        workers.run_to(
            tmp_path / "other", tmp_path / "images", openvocab.Prompt(marks=[openvocab.Mark(points=[(1, 1)])])
        )


def test_a_run_goes_on_with_other_workers_and_with_none(images: Path, tmp_path: Path) -> None:
    names = sorted(map(str, images.iterdir()))
    loader, run = FakeLoader(), tmp_path / "run"
    Workers(loader, BOTH).run_to(run, names[:10], LABELS)
    assert Workers(loader, ("cpu",)).run_to(run, names[:30], LABELS).skipped == 10
    assert loader("cpu").run_to(run, names, LABELS).skipped == 30
    assert Workers(loader, BOTH).run_to(run, names, LABELS).rows == 0
    assert [row[0] for row in rows_in(run)] == names
    with pytest.raises(BadInput, match="holds another run"):
        Workers(loader, BOTH).run_to(run, names, ["other", "words"])


def test_a_worker_that_is_killed_costs_no_row(images: Path, tmp_path: Path) -> None:
    once = tmp_path / "once"
    once.touch()
    summary = Workers(FakeLoader(once=str(once), batch_size=4), BOTH).run_to(tmp_path / "run", images, LABELS)
    assert not once.exists()
    assert (summary.ok, summary.errors) == (43, {"empty": 1, "nonfinite": 1})
    FakeLoader()("cpu").run_to(tmp_path / "alone", images, LABELS)
    assert rows_in(tmp_path / "run") == rows_in(tmp_path / "alone")


def test_an_image_that_kills_its_workers_is_one_row(images: Path, tmp_path: Path) -> None:
    for name in ("00012.png", "00013.png"):
        Image.new("RGB", (9, 9), KILL_COLOR).save(images / name)
    summary = Workers(FakeLoader(), BOTH).run_to(tmp_path / "run", images, LABELS)
    assert (summary.ok, summary.errors) == (41, {"empty": 1, "nonfinite": 1, "decoder_crashed": 2})
    assert [row[0] for row in rows_in(tmp_path / "run")] == sorted(map(str, images.iterdir()))


def test_a_run_whose_worker_dies_while_it_is_stopped_ends_with_what_it_has(images: Path, tmp_path: Path) -> None:
    answered: list[Any] = []

    def stop() -> bool:
        for worker in active_children() if answered else ():
            worker.kill()
            worker.join()
        return bool(answered)

    taken: Any = {"on_answer": lambda answer, _: answered.append(answer), "stop": stop}
    summary = Workers(FakeLoader(), ("cpu",)).run_to(tmp_path / "run", images, LABELS, **taken)
    assert summary.stopped and summary.rows == len(rows_in(tmp_path / "run")) == len(answered) > 0


def test_batches_that_run_out_of_memory_are_halved_in_workers_too(images: Path, tmp_path: Path) -> None:
    summary = Workers(FakeLoader(max_batch=3), BOTH).run_to(tmp_path / "run", images, LABELS)
    assert (summary.ok, summary.batch_sizes) == (43, {"tagger": 2})


@pytest.mark.parametrize(
    ("devices", "error", "words"),
    [
        pytest.param(("cpu", "broken"), BadWeights, "its file is not the pinned one", id="weights"),
        pytest.param(("cpu", "dead"), BadInput, "ended with status -9 before its models were loaded", id="dies"),
        pytest.param(
            ("cpu", "narrow"), BadInput, "float32 on cpu and bfloat16 on narrow; give dtype=DTYPE", id="dtype"
        ),
        pytest.param((), BadInput, "no device is named", id="none"),
    ],
)
def test_devices_that_cannot_be_used(
    images: Path, tmp_path: Path, devices: tuple[str, ...], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Workers(FakeLoader(), devices).run_to(tmp_path / "run", images, LABELS)
    assert not (tmp_path / "run").exists()


def test_stop_leaves_whole_rows_from_the_first_on(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    save_images(folder, 300)
    seen: list[str] = []
    loader, run = FakeLoader(seconds=0.01), tmp_path / "run"
    summary = Workers(loader, BOTH).run_to(
        run, folder, LABELS, on_answer=lambda answer, _: seen.append(answer.item.id), stop=lambda: len(seen) > 20
    )
    names = sorted(map(str, folder.iterdir()))
    assert summary.stopped and 20 < summary.rows < 300
    assert [row[0] for row in rows_in(run)] == names[: summary.rows]
    Workers(FakeLoader(), BOTH).run_to(run, folder, LABELS)
    assert [row[0] for row in rows_in(run)] == names


def test_stop_while_models_are_loaded_writes_nothing(tmp_path: Path) -> None:
    save_images(tmp_path / "p", 3)
    summary = Workers(FakeLoader(), BOTH).run_to(tmp_path / "run", tmp_path / "p", LABELS, stop=lambda: True)
    assert (summary.stopped, summary.rows, (tmp_path / "run").exists()) == (True, 0, False)


def test_a_real_model_on_two_devices(clip_folders: dict[str, Path], make_image: Any, tmp_path: Path) -> None:
    for number in range(9):
        Image.fromarray(make_image(40, 30 + number, seed=number)).save(tmp_path / f"{number}.png")
    loader = openvocab.Loader(
        tagger=f"open_clip:local-dir:{clip_folders['softmax']}", dtype="float32", settings={"tag_threshold": 0.0}
    )
    sources = [str(path) for path in sorted(tmp_path.glob("*.png"))]
    loader("cpu").run_to(tmp_path / "alone", sources, ["cat", "dog"])
    Workers(loader, BOTH).run_to(tmp_path / "run", sources, ["cat", "dog"])
    assert rows_in(tmp_path / "run") == rows_in(tmp_path / "alone")
    for run in ("alone", "run"):
        assert openvocab.read_run(tmp_path / run).record["tagger"]["sha256"]


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        pytest.param("cuda:0,cuda:1", ("cuda:0", "cuda:1"), id="two"),
        pytest.param(" cpu , cpu", ("cpu", "cpu"), id="spaces"),
        pytest.param("cuda*3,cpu", ("cuda", "cuda", "cuda", "cpu"), id="several of one"),
    ],
)
def test_devices_are_read(text: str, devices: tuple[str, ...]) -> None:
    assert read_devices(text) == devices


@pytest.mark.parametrize(("text", "words"), [(",", "no device is named"), ("cpu*x", "not a number of workers")])
def test_devices_that_cannot_be_read(text: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        read_devices(text)


def test_an_engine_of_another_name_is_refused() -> None:
    with pytest.raises(BadInput, match="engine must be"):
        Workers(FakeLoader(), BOTH, "dask")  # type: ignore[arg-type]


SCRIPT = """
import sys
from openvocab import Workers
from openvocab.ui.cli.batch_commands import listening
from tests.helpers.workers import FakeLoader

with listening() as stop:
    told = lambda *_: print("row", flush=True)
    workers = Workers(FakeLoader(seconds=0.02), ("cpu", "cpu"))
    workers.run_to(sys.argv[2], sys.argv[1], ["a", "b"], stop=stop, on_answer=told)
sys.exit(stop.status if stop() else 0)
"""


def started(images: Path, run: Path) -> subprocess.Popen[str]:
    """Start a run of two workers in a process group of its own, and wait for its first row."""
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
    made = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(images), str(run)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert made.stdout is not None
    assert made.stdout.readline() == "row\n"
    return made


def group(leader: int) -> list[int]:
    """The living processes of a process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            words = stat.read_text().rpartition(")")[2].split()
            found += [int(stat.parent.name)] * (int(words[2]) == leader and words[0] != "Z")
    return found


def waits_for(leader: int) -> bool:
    """Whether the group is empty within some seconds."""
    until = time.monotonic() + 20
    while group(leader) and time.monotonic() < until:
        time.sleep(0.1)
    return not group(leader)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are counted in /proc")
@pytest.mark.parametrize(
    ("number", "status"),
    [pytest.param(signal.SIGINT, 130, id="Ctrl-C"), pytest.param(signal.SIGTERM, 143, id="SIGTERM")],
)
def test_a_signal_to_all_processes_finishes_the_pending_batches(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    save_images(tmp_path / "p", 900)
    running = started(tmp_path / "p", tmp_path / "run")
    os.killpg(running.pid, number)
    running.communicate(timeout=30)
    names, done = sorted(map(str, (tmp_path / "p").iterdir())), [row[0] for row in rows_in(tmp_path / "run")]
    assert running.returncode == status
    assert 0 < len(done) < 900 and done == names[: len(done)]
    assert waits_for(running.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are counted in /proc")
def test_workers_end_with_the_process_that_writes(tmp_path: Path) -> None:
    save_images(tmp_path / "p", 900)
    running = started(tmp_path / "p", tmp_path / "run")
    running.kill()
    running.communicate(timeout=30)
    assert waits_for(running.pid)
    Workers(FakeLoader(), BOTH).run_to(tmp_path / "run", tmp_path / "p", ["a", "b"])
    assert [row[0] for row in rows_in(tmp_path / "run")] == sorted(map(str, (tmp_path / "p").iterdir()))
