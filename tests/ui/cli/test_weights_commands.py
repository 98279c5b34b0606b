"""`openvocab weights` and `openvocab doctor`, with caches of their own."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from openvocab.ui.cli.main import main
from openvocab.weights import fetch
from openvocab.weights.files import sha256_of
from openvocab.weights.manifest import embedded, preset_records, published


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("OPENVOCAB_CACHE", str(tmp_path / "own"))
    return tmp_path


@pytest.fixture
def sam(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file where sam-vit-b is kept, with a pin that fits it."""
    record = published()["sam-vit-b"]
    pins = {record.url: hashlib.sha256(b"weights").hexdigest()}
    monkeypatch.setattr("openvocab.weights.trust.pinned_sha256", pins.get)
    path = fetch.url_path(record.url)
    assert path is not None
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    return path


def cells(out: str, name: str) -> list[str]:
    """The words of the first line that begins with a name."""
    return next(line.split() for line in out.splitlines() if line.split()[:1] == [name])


def test_list_is_a_table_of_every_checkpoint_and_preset(sam, capsys):
    assert main(["weights", "list"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["name", "stage", "parameters", "size", "license", "here"]
    assert all(cells(out, name) for name in (*published(), *embedded(), *preset_records()))
    assert cells(out, "sam-vit-b") == ["sam-vit-b", "segmenter", "94", "M", "375.0", "MB", "Apache-2.0", "yes"]
    assert cells(out, "owlv2-base")[-1] == "no"
    assert "about" in cells(out, "owlv2-large")
    assert "(gated)" in cells(out, "sam3")
    assert cells(out, "pocket-tagger")[-1] == "ships"
    assert cells(out, "base")[1:4] == ["open_clip-siglip2-b-16", "owlv2-base", "sam-vit-b"]


def test_where_prints_paths_only(sam, capsys):
    assert main(["weights", "where", "sam-vit-b"]) == 0
    assert capsys.readouterr().out == f"{sam}\n"
    assert main(["weights", "where", "pocket"]) == 0
    assert [Path(line).is_file() for line in capsys.readouterr().out.splitlines()] == [True] * 3


def test_verify_reads_what_is_here(sam, capsys):
    assert main(["weights", "verify"]) == 0
    out = capsys.readouterr().out
    assert cells(out, "sam-vit-b")[2] == "pinned"
    assert cells(out, "pocket-detector")[2:5] == ["ships", "with", "openvocab"]
    assert main(["weights", "verify", "sam-vit-b", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["checkpoints"]
    assert (row["checkpoint"], row["checked against"], row["file"]) == ("sam-vit-b", "pinned", str(sam))
    sam.write_bytes(b"weightz")
    assert main(["weights", "verify", "sam-vit-b", "--json"]) == 2
    assert json.loads(capsys.readouterr().out) == {"checkpoints": [], "failed": ["sam-vit-b"]}
    assert main(["weights", "verify"]) == 2
    err = capsys.readouterr().err
    assert "is pinned; delete the file and fetch it again" in err
    assert re.search(r"1 of [45] checkpoints failed: sam-vit-b", err), "5 with the package of extra photos"


def test_pull_of_what_is_here_or_ships_needs_no_network(sam, capsys):
    assert main(["weights", "pull", "pocket", "sam-vit-b"]) == 0
    out = capsys.readouterr().out
    assert f"sam-vit-b: {sam}\n" in out
    assert out.count("pocket-") == 3


def test_pack_and_unpack(sam, caches, capsys):
    out = caches / "a.tar"
    assert main(["weights", "pack", "sam-vit-b", "-o", str(out)]) == 0
    sam.unlink()
    # the pin of the manifest is another one than that of this small stand-in
    assert main(["weights", "unpack", str(out)]) == 2
    assert "was expected" in capsys.readouterr().err
    assert not sam.exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(["weights", "pull", "sam-vitb"], "did you mean 'sam-vit-b'", id="unknown name"),
        pytest.param(
            ["weights", "where", "small"],
            "owlv2-base, sam2-tiny are not on this machine; run: openvocab weights pull small",
            id="where, absent",
        ),
        pytest.param(["weights", "where", "pocke"], "did you mean 'pocket'", id="where, unknown name"),
        pytest.param(["weights", "where", "nosuch"], "see: openvocab weights list", id="where, no such name"),
        pytest.param(["weights", "where", "sam2:facebook/sam2-hiera-nosuch"], "no checkpoint", id="where, SPEC"),
        pytest.param(["weights", "pack", "small", "-o", "x.tar"], "weights pull small", id="pack, absent"),
        pytest.param(["weights", "verify", "sam-vit-h"], "1 of 1 checkpoint failed", id="verify, absent"),
        pytest.param(["weights", "pull", "sam-vit-h"], "openvocab is offline", id="pull, offline"),
        pytest.param(["weights", "pack", "pocket", "-o", "x.tar"], "nothing to pack", id="pack, embedded"),
        pytest.param(["weights", "unpack", "none.tar"], "none.tar does not exist; check", id="unpack, absent"),
    ],
)
def test_what_cannot_be_done_is_said_with_status_2(arguments, told, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert told in err
    assert "Traceback" not in out + err
    assert "fetching" not in err  # nothing is announced that is refused


@pytest.mark.parametrize(
    "arguments", [["weights"], ["weights", "fetch"], ["weights", "pull"], ["weights", "pack", "base"]]
)
def test_bad_usage(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2


def test_doctor_is_one_screen(sam, capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert len(lines) <= 25
    for word in ("torch", "transformers", "device", "precision", "GB free", "hub cache", "own cache", "sam-vit-b"):
        assert word in out
    assert "off (--offline or HF_HUB_OFFLINE)" in out
    assert next(line for line in lines if line.startswith("preset pocket")).endswith("weights are here; not tried")
    assert "run: openvocab weights pull base" in out


@pytest.mark.parametrize("value", ["/proc/none/own", ""], ids=["cannot be made", "empty"])
def test_doctor_never_fails(value, monkeypatch, capsys):
    monkeypatch.setenv("OPENVOCAB_CACHE", value)
    assert main(["doctor"]) == 0


def test_listing_weights_loads_no_torch():
    code = (
        "import sys; from openvocab.ui.cli.main import main; main(['weights', 'list']); print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.endswith("False\n"), run.stderr


def test_pull_takes_a_spec_without_a_record(tmp_path, capsys):
    from tests.tiny import owlv2

    spec = f"owlv2:{owlv2.write(tmp_path / 'tiny')}"
    assert main(["weights", "pull", spec]) == 0
    digest = sha256_of(tmp_path / "tiny" / "model.safetensors")
    assert capsys.readouterr().out == f"{spec}: here, sha256 {digest}\n"


def test_pull_of_a_spec_of_no_family_names_the_nearest(capsys):
    assert main(["weights", "pull", "owlv3:somewhere"]) == 2
    assert "no model family named 'owlv3'; did you mean 'owlv2'?" in capsys.readouterr().err
