"""Run folders: one row per input; runs are resumed, refused, locked and written atomically."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import openvocab
from openvocab import BadInput, CannotWrite, ImageError, Settings
from openvocab.batch import atomic
from openvocab.batch.atomic import temporary_name
from openvocab.batch.changes import Known
from openvocab.batch.part_files import read_part
from openvocab.batch.rows import Row, schema
from openvocab.batch.run_folder import describe, open_run
from openvocab.testing import FakeTagger
from openvocab.ui.cli.main import main
from tests.helpers.stages import LABELS, chain, save_images, tagging

ROOT = Path(__file__).parents[2]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Twenty images, two of them broken."""
    folder = tmp_path / "images"
    for path in (save_images(folder, 20)[3], save_images(folder, 20)[11]):
        path.write_bytes(b"no image")
    save = sorted(folder.iterdir())
    save[3].write_bytes(b"")
    return folder


def ids_in(run: Path) -> list[str]:
    return [row.id for row in openvocab.read_run(run)]


def names(folder: Path) -> list[str]:
    return sorted(map(str, folder.iterdir()))


def files_of(run: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in run.iterdir()}


def job(*arguments: str, seconds: float = 0.0, **environment: str) -> subprocess.Popen[str]:
    """Start the command line over the stubs in a process of its own, once it is ready."""
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    started = subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "helpers" / "command.py"), str(seconds), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )
    assert started.stdout is not None
    said = started.stdout.readline()
    if said != "ready\n":
        started.kill()
        pytest.fail(f"the job did not start: {said}{started.communicate()[1]}")
    return started


def tag_job(images: Path, run: Path, *options: str, seconds: float = 0.0, **environment: Any) -> Any:
    return job("tag", str(images), "--labels", "a, b", "--out", str(run), *options, seconds=seconds, **environment)


def wait_for(path: Path, running: Any) -> None:
    """Wait until a file of a job is there."""
    while not path.exists():
        assert running.poll() is None
        time.sleep(0.01)


def test_one_row_an_input_in_order_and_the_second_call_does_nothing(images: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = chain().run_to(run, images, LABELS, part_rows=6, features="float16")
    assert (first.rows, first.ok, first.errors, first.skipped) == (20, 18, {"empty": 1, "not_an_image": 1}, 0)
    assert ids_in(run) == names(images)
    before = files_of(run)
    second = chain().run_to(run, images, LABELS, part_rows=6, features="float16")
    assert (second.rows, second.skipped, second.errors_kept) == (0, 20, 2)
    assert {**files_of(run), ".pid": 0, ".lock": 0} == {**before, ".pid": 0, ".lock": 0}


def test_rows_hold_what_the_chain_says(images: Path, tmp_path: Path) -> None:
    pipe = chain()
    pipe.run_to(tmp_path / "run", images, LABELS, features="float32", draw=True)
    vocabulary = pipe.vocabulary(LABELS)
    for row in openvocab.read_run(tmp_path / "run"):
        if row.status == "error":
            assert row.error is not None and repr(row.id) in row.error
            continue
        result = pipe(row.id, vocabulary)
        assert {tag.label: tag.score for tag in row.tags} == pytest.approx(
            {tag.label: tag.score for tag in result.tags}, abs=1e-4
        )
        assert row.detections is not None and row.width is not None and row.height is not None
        np.testing.assert_array_equal(np.asarray(row.detections.masks), result.detections.masks)
        np.testing.assert_array_equal(row.detections.xyxy, result.detections.xyxy)
        assert row.features is not None and np.linalg.norm(row.features) == pytest.approx(1, abs=1e-5)
    drawn = sorted(path.stem for path in (tmp_path / "run" / "images").iterdir())
    assert drawn == [Path(row.id).stem for row in openvocab.read_run(tmp_path / "run") if row.status == "ok"]


def test_what_was_added_since_is_done_and_drawn_under_another_name(tmp_path: Path) -> None:
    save_images(tmp_path / "a", 2)
    pipe, run = chain(), tmp_path / "run"
    pipe.run_to(run, tmp_path / "a", LABELS, draw=True)
    save_images(tmp_path / "b", 3)
    summary = pipe.run_to(run, [tmp_path / "b", tmp_path / "a"], LABELS, draw=True)
    assert (summary.ok, summary.skipped) == (3, 2)
    found = sorted(path.name for path in (run / "images").iterdir())
    assert len(found) == 5 and {"00000.png", "00001.png", "00002.png"} < set(found)


@pytest.mark.parametrize("tool", ["pyarrow", "pandas", "polars", "duckdb"])
def test_the_rows_open_elsewhere(images: Path, tmp_path: Path, tool: str) -> None:
    module = pytest.importorskip(tool)
    chain().run_to(tmp_path / "run", images, LABELS, part_rows=7, features="float32")
    dataset = openvocab.read_run(tmp_path / "run").dataset
    if tool == "pyarrow":
        assert dataset.count_rows() == 20
    elif tool == "pandas":
        assert len(dataset.to_table().to_pandas()) == 20
    elif tool == "polars":
        assert module.scan_pyarrow_dataset(dataset).select("id").collect().height == 20
    else:
        assert module.sql("select count(*) from dataset where status = 'error'").fetchall() == [(2,)]


def test_duckdb_reads_the_files_of_a_run_with_float16_features(images: Path, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    chain().run_to(tmp_path / "run", images, LABELS, part_rows=7, features="float16")
    rows = duckdb.sql(f"select features from '{tmp_path}/run/part-*.parquet' where status = 'ok'").fetchall()
    stored = [row.features for row in openvocab.read_run(tmp_path / "run") if row.features is not None]
    np.testing.assert_array_equal(np.array([row[0] for row in rows], np.float16), np.stack(stored).astype(np.float16))


def test_a_run_without_rows_can_be_read(tmp_path: Path) -> None:
    save_images(tmp_path / "a", 2)
    summary = chain().run_to(tmp_path / "run", tmp_path / "a", LABELS, stop=lambda: True)
    run = openvocab.read_run(tmp_path / "run")
    assert (summary.rows, summary.stopped, len(run), list(run), run.dataset.count_rows()) == (0, True, 0, [], 0)
    assert run.labels == LABELS


def _other_weights() -> Any:
    from dataclasses import replace

    pipe = tagging()
    tagger: Any = pipe.tagger
    return replace(pipe, tagger=replace(tagger, record=replace(tagger.record, sha256="f" * 64)))


CHANGES = [
    pytest.param(tagging, {"labels": ("dark", "light")}, 'labels: ["dark", "light", "red"] -> ["dark"', id="labels"),
    pytest.param(tagging, {"labels": ("light", "dark", "red")}, "labels: ", id="the order of labels"),
    pytest.param(tagging, {"template": "a {label}"}, 'a photo of a {label}"] -> ["a {label}"]', id="template"),
    pytest.param(tagging, {"tag_threshold": 0.5}, "settings.tag_threshold: 0.0 -> 0.5", id="threshold"),
    pytest.param(tagging, {"windows": 2}, "settings.windows: 0 -> 2", id="windows"),
    pytest.param(tagging, {"features": "float16"}, 'features: null -> "float16"', id="features"),
    pytest.param(tagging, {"decode_size": 64}, "decode_size: null -> 64", id="decoding"),
    pytest.param(_other_weights, {}, f'tagger.sha256: "{FakeTagger().record.sha256}" -> "{"f" * 64}"', id="weights"),
    pytest.param(chain, {}, "detector: null -> ", id="one more stage"),
]


@pytest.mark.parametrize(("make", "changes", "words"), CHANGES)
def test_another_run_is_refused_with_the_difference(
    images: Path, tmp_path: Path, make: Any, changes: dict[str, Any], words: str
) -> None:
    run = tmp_path / "run"
    tagging().run_to(run, images, LABELS)
    before = files_of(run)
    options = {"labels": LABELS, **changes}
    with pytest.raises(BadInput) as caught:
        make().run_to(run, images, **options)
    assert words in str(caught.value) or "detector." in str(caught.value)
    assert "overwrite=True" in str(caught.value)
    assert files_of(run).keys() == before.keys()
    summary = make().run_to(run, images, overwrite=True, **options)
    assert (summary.rows, summary.skipped) == (20, 0)
    assert ids_in(run) == names(images)


@pytest.mark.parametrize("changes", [{"batch_size": 3}, {"workers": 1}, {"part_rows": 2}])
def test_options_that_change_no_row_resume_the_run(images: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    tagging().run_to(tmp_path / "run", images, LABELS)
    assert tagging().run_to(tmp_path / "run", images, LABELS, **changes).skipped == 20


def test_a_run_of_a_version_without_mask_threshold_is_resumed(images: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    chain().run_to(run, images, LABELS)
    record = json.loads((run / "run.json").read_text("utf-8"))
    del record["settings"]["mask_threshold"]
    (run / "run.json").write_text(json.dumps(record), "utf-8")
    assert chain().run_to(run, images, LABELS).skipped == 20
    with pytest.raises(BadInput, match=r"settings\.mask_threshold: 0\.0 -> 0\.5"):
        chain(mask_threshold=0.5).run_to(run, images, LABELS)


def test_strict_stops_and_leaves_the_input_to_the_next_call(images: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"00003\.png"):
        tagging().run_to(tmp_path / "run", images, LABELS, strict=True)
    assert ids_in(tmp_path / "run") == names(images)[:3]
    assert tagging().run_to(tmp_path / "run", images, LABELS).rows == 17


def test_out_of_memory_is_recorded(images: Path, tmp_path: Path) -> None:
    summary = tagging(max_batch=3).run_to(tmp_path / "run", images, LABELS)
    assert summary.batch_sizes == {"tagger": 2}
    record = openvocab.read_run(tmp_path / "run").record
    assert [session["batch_sizes"] for session in record["sessions"]] == [{"tagger": 2}]
    assert record["settings"]["batch_size"] == 8
    assert {"openvocab", "tagger", "templates", "templates_digest", "labels", "labels_digest"} <= record.keys()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(lambda run: (run / "run.json").unlink(), "holds parts and no run.json", id="no record"),
        pytest.param(lambda run: (run / "run.json").write_text("{"), "cannot be read", id="broken record"),
        pytest.param(lambda run: (run / "run.json").write_text('{"format": 9}'), "not of format 1", id="newer record"),
    ],
)
def test_a_folder_that_was_spoilt_is_refused(images: Path, tmp_path: Path, spoil: Any, words: str) -> None:
    tagging().run_to(tmp_path / "run", images, LABELS)
    spoil(tmp_path / "run")
    with pytest.raises(BadInput, match=words):
        tagging().run_to(tmp_path / "run", images, LABELS)
    assert tagging().run_to(tmp_path / "run", images, LABELS, overwrite=True).rows == 20


def test_temporary_files_of_a_killed_run_are_removed(images: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    tagging().run_to(run, images, LABELS)
    temporary_name(run / "part-00001.parquet").write_bytes(b"half")
    tagging().run_to(run, images, LABELS)
    found = sorted(path.name for path in run.iterdir())
    assert found == [".lock", ".pid", "part-00000.parquet", "parts.jsonl", "run.json"]


def test_a_second_process_is_refused_with_the_pid_of_the_first(images: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = tag_job(images, run, seconds=2.0)
    wait_for(run / ".pid", first)
    second = tag_job(images, run)
    err = second.communicate(timeout=20)[1]
    assert (second.returncode, f"is being written by process {first.pid}" in err) == (3, True)
    first.kill()
    first.communicate()
    assert (run / ".pid").read_text() == str(first.pid)  # stale now, and no hindrance
    third = tag_job(images, run)
    third.communicate(timeout=20)
    assert third.returncode == 1
    assert ids_in(run) == names(images)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KB."""
    place = tmp_path / "disk"
    place.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root mounts")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True).returncode:
        pytest.skip("this machine mounts no tmpfs")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_stops_the_run_cleanly(tiny_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_images(tmp_path / "p", 200)
    filler = tiny_disk / "filler"
    filler.write_bytes(os.urandom(140_000))
    run = tiny_disk / "run"
    with pytest.raises(CannotWrite, match=r"part-\d+\.parquet cannot be written \(.*, \d+ bytes needed\); make room"):
        tagging().run_to(run, tmp_path / "p", LABELS, part_rows=5)
    done = ids_in(run)
    assert 0 < len(done) < 200
    filler.unlink()
    assert tagging().run_to(run, tmp_path / "p", LABELS, part_rows=100).skipped == len(done)
    assert ids_in(run) == names(tmp_path / "p")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
@pytest.mark.parametrize("at", [1, 3, 5])
@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_any_failing_write_stops_the_run_cleanly(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, at: int, call: str
) -> None:
    table: dict[str, Any] = {"fsync": os.fsync, "replace": os.replace, "write": open}
    calls, real = 0, table[call]

    def failing(*given: Any, **named: Any) -> Any:
        nonlocal calls
        if call != "write" or "w" in given[1:2][0]:
            calls += 1
            if calls == at:
                raise OSError(code, os.strerror(code))
        return real(*given, **named)

    if call == "write":
        monkeypatch.setattr(atomic, "open", failing, raising=False)
    else:
        monkeypatch.setattr(os, call, failing)
    with pytest.raises(CannotWrite, match=os.strerror(code)):
        tagging().run_to(tmp_path / "run", images, LABELS, part_rows=5)
    monkeypatch.undo()
    tagging().run_to(tmp_path / "run", images, LABELS, part_rows=5)
    assert ids_in(tmp_path / "run") == names(images)
    assert not list((tmp_path / "run").glob("*.tmp"))


def test_a_read_only_disk_exits_with_3(tiny_disk: Path, images: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    refused = tag_job(images, tiny_disk / "run")
    said = refused.communicate(timeout=20)[1]
    assert (refused.returncode, "cannot be written (Read-only file system)" in said) == (3, True)


@pytest.mark.parametrize(
    ("number", "status"),
    [pytest.param(signal.SIGINT, 130, id="Ctrl-C"), pytest.param(signal.SIGTERM, 143, id="SIGTERM")],
)
def test_the_first_signal_finishes_the_pending_batches(tmp_path: Path, number: signal.Signals, status: int) -> None:
    save_images(tmp_path / "p", 400)
    running = tag_job(tmp_path / "p", tmp_path / "run", "--json", "--part-rows", "20", seconds=0.02)
    wait_for(tmp_path / "run" / "part-00000.parquet", running)
    running.send_signal(number)
    out, err = running.communicate(timeout=20)
    assert (running.returncode, "finishing the current batch" in err, "Traceback" in err) == (status, True, False)
    summary = json.loads(out)
    done = ids_in(tmp_path / "run")
    assert summary["stopped"] is True
    assert 0 < len(done) == summary["rows"] < 400
    assert done == names(tmp_path / "p")[: len(done)]
    rest = tag_job(tmp_path / "p", tmp_path / "run")
    rest.communicate(timeout=30)
    assert (rest.returncode, ids_in(tmp_path / "run")) == (0, names(tmp_path / "p"))


def test_the_second_signal_ends_without_finishing_the_batch(tmp_path: Path) -> None:
    save_images(tmp_path / "p", 40)
    running = tag_job(tmp_path / "p", tmp_path / "run", "--batch-size", "40", seconds=0.2)
    wait_for(tmp_path / "run" / "run.json", running)
    running.send_signal(signal.SIGINT)
    assert any("finishing the current batch" in line for line in running.stderr)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=20)
    assert (running.returncode, list((tmp_path / "run").glob("part-*"))) == (-signal.SIGINT, [])


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"LC_ALL": "C", "PYTHONUTF8": "0"}, id="locale C"),
        pytest.param({"HOME": "/nonexistent", "TMPDIR": "/nonexistent", "HF_HOME": "/nonexistent"}, id="no home"),
        pytest.param({"TZ": "Pacific/Kiritimati"}, id="clock"),
    ],
)
def test_a_run_does_not_depend_on_locale_home_or_clock(tmp_path: Path, environment: dict[str, Any]) -> None:
    (path,) = save_images(tmp_path / "p", 1)
    path.rename(path.with_name("犬.png"))
    ended = tag_job(tmp_path / "p", tmp_path / "run", **environment)
    said = ended.communicate(timeout=20)[1].splitlines()
    assert (ended.returncode, [line for line in said if not line.startswith("openvocab: pocket")]) == (0, [])
    assert ids_in(tmp_path / "run") == [str(tmp_path / "p" / "犬.png")]


def test_a_resumed_run_reads_two_columns_of_each_part_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record, kind, reads = describe({}, ["dog"]), schema(), list[Any]()
    with open_run(tmp_path, record) as run:
        for part in range(3):
            kinds: list[Any] = [None, "truncated"]
            run.add([Row(f"{part}/{number}.jpg", error_kind=kinds[number % 2]) for number in range(6)], kind)

    def recorded(part: Path, columns: Any = None) -> Any:
        reads.append((part.name, columns))
        return read_part(part, columns)

    monkeypatch.setattr("openvocab.batch.part_files.read_part", recorded)
    with open_run(tmp_path, record) as run:
        known = Known(run)
    assert (len(known), known.errors, run.keys) == (18, 9, {})
    assert reads == [(f"part-{number:05}.parquet", ["id", "status"]) for number in range(3)]


def test_the_command_line_says_that_there_is_nothing_to_do(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(openvocab, "load", lambda *_, **__: chain(), raising=False)
    command = ["annotate", str(images), "--labels", "dark, light", "--out", str(tmp_path / "run")]
    assert main(command) == 1
    assert "20 rows written" in capsys.readouterr().out
    assert main(command) == 1
    said = capsys.readouterr()
    assert said.out.startswith("nothing to do: 20 images have a row")
    assert "2 of the rows from before are errors" in said.out
    assert main([*command, "--labels", "other, words"]) == 2
    assert "holds another run" in capsys.readouterr().err
    assert len(list((tmp_path / "run" / "images").iterdir())) == 18
    assert main([*command[:-1], str(tmp_path / "bare"), "--no-images"]) == 1
    assert not (tmp_path / "bare" / "images").exists()


def test_file_names_of_any_bytes_are_resumed(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    for name in ("\udcff.png", "a\nb.png", "bytes:x.png"):
        Image.new("RGB", (8, 8)).save(folder / name)
    pipe = tagging()
    assert pipe.run_to(tmp_path / "run", folder, LABELS).ok == 3
    assert pipe.run_to(tmp_path / "run", folder, LABELS).skipped == 3
    assert sorted(ids_in(tmp_path / "run")) == names(folder)


def test_a_run_over_100_000_labels_writes_only_the_best(tmp_path: Path) -> None:
    from openvocab import PromptSet, Vocabulary
    from openvocab.pipeline.protocols import TextEmbeddings

    save_images(tmp_path / "p", 3)
    labels = tuple(f"label {number}" for number in range(100_000))
    rows = np.tile(np.array([0.6, 0.8, 0, 0], np.float32), (100_000, 1))
    prompts = PromptSet("p", ("{label}",))
    words = Vocabulary(labels, prompts, TextEmbeddings(labels, prompts, rows), None)
    assert tagging().run_to(tmp_path / "run", tmp_path / "p", words, max_tags=5).ok == 3
    assert sum(part.stat().st_size for part in (tmp_path / "run").glob("part-*")) < 50_000
    assert openvocab.read_run(tmp_path / "run").labels == labels
    assert [len(row.tags) for row in openvocab.read_run(tmp_path / "run")] == [5] * 3


def test_settings_and_options_are_told_apart(tmp_path: Path) -> None:
    save_images(tmp_path / "p", 1)
    with pytest.raises(BadInput, match="no option or setting named 'treshold'"):
        tagging().run_to(tmp_path / "run", tmp_path / "p", LABELS, treshold=1)  # type: ignore[call-arg]
    assert Settings().batch_size == 32


def test_rows_are_reached_by_position(tmp_path: Path) -> None:
    save_images(tmp_path / "photos", 11)
    chain().run_to(tmp_path / "run", tmp_path / "photos", LABELS, part_rows=4)
    run = openvocab.read_run(tmp_path / "run")
    ids = [row.id for row in run]
    assert len(run.parts) == 3 and len(ids) == 11
    assert [run[at].id for at in range(-11, 11)] == ids + ids
    for part in (slice(None), slice(2, 9, 3), slice(None, None, -1), slice(-2, None), slice(5, 5)):
        assert [row.id for row in run[part]] == ids[part]
    for at in (11, -12):
        with pytest.raises(IndexError, match=f"row {at} of a run with 11 rows"):
            run[at]
    assert repr(run) == f"Run({str(tmp_path / 'run')!r}, 11 rows, {len(LABELS)} labels)"
