"""Files that run code when they are unpickled: every way in refuses them, and the code never runs."""

from __future__ import annotations

import importlib
import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from openvocab.errors import BadWeights
from openvocab.models.checkpoints import find
from openvocab.models.registry import load_detector, load_segmenter, load_tagger
from openvocab.weights.files import read_state

SCRIPT = "import pathlib; pathlib.Path({!r}).touch()"


class _Call:
    """Calls something when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.answer = (function, arguments)

    def __reduce__(self) -> Any:
        return self.answer


class _State(_Call):
    """Hands its state to a function that sets it."""

    def __reduce__(self) -> Any:
        function, (argument,) = self.answer
        return (dict, (), None, None, iter([("a", _Call(function, argument))]))


def _dumps(thing: Any, protocol: int = 2) -> bytes:
    return pickle.dumps(thing, protocol)


def _global(module: str, name: str, argument: str, *, call: bytes = b"R") -> bytes:
    """Write by hand: module.name(argument)."""
    text = f"c{module}\n{name}\n(V{argument}\nt".encode()
    return b"\x80\x02" + text + call + b"."


def _stack_global(module: str, name: str, argument: str) -> bytes:
    words = b"".join(b"\x8c" + bytes([len(each)]) + each.encode() for each in (module, name))
    return b"\x80\x04" + words + b"\x93(V" + argument.encode() + b"\ntR."


def _old_instance(module: str, name: str, argument: str) -> bytes:
    return f"(V{argument}\ni{module}\n{name}\n.".encode()


def _old_object(module: str, name: str, argument: str) -> bytes:
    return f"(c{module}\n{name}\nV{argument}\no.".encode()


def _memoised(argument: str) -> bytes:
    """A harmless dictionary first, then a call by way of the memo."""
    return b"\x80\x02}q\x00cos\nsystem\nq\x01(V" + argument.encode() + b"\ntRq\x02h\x00."


def _after_tensors(canary: Path) -> bytes:
    return _dumps({"weight": [1.0], "more": _Call(importlib.import_module("os").system, f"touch {canary}")})


def _python(canary: Path) -> str:
    return SCRIPT.format(str(canary))


pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol", "ignore:'torch.load' received a zip file")

PAYLOADS: dict[str, Callable[[Path], bytes]] = {
    "os.system": lambda canary: _dumps(_Call(importlib.import_module("os").system, f"touch {canary}")),
    "exec": lambda canary: _dumps(_Call(exec, _python(canary))),
    "eval": lambda canary: _dumps(_Call(eval, f"__import__('pathlib').Path({str(canary)!r}).touch()")),
    "open": lambda canary: _dumps(_Call(open, str(canary), "w")),
    "path method": lambda canary: _dumps(_Call(Path.touch, canary)),
    "newest protocol": lambda canary: _dumps(_Call(Path.touch, canary), 5),
    "oldest protocol": lambda canary: _dumps(_Call(exec, _python(canary)), 0),
    "subprocess": lambda canary: _dumps(_Call(importlib.import_module("subprocess").run, ["touch", str(canary)])),
    "os.popen": lambda canary: _dumps(_Call(importlib.import_module("os").popen, f"touch {canary}")),
    "os.mkdir": lambda canary: _dumps(_Call(importlib.import_module("os").mkdir, str(canary))),
    "shutil.copy": lambda canary: _dumps(_Call(importlib.import_module("shutil").copy, __file__, str(canary))),
    "profiler": lambda canary: _global("cProfile", "run", _python(canary)),
    "partial": lambda canary: _dumps(_Call(partial(exec), _python(canary))),
    "getattr": lambda canary: _chain(canary),
    "attrgetter": lambda canary: _dumps(_Call(attrgetter("touch"), canary)),
    "within tensors": _after_tensors,
    "as an item": lambda canary: _dumps(_State(Path.touch, canary)),
    "reduce by hand": lambda canary: _global("os", "system", f"touch {canary}"),
    "posix": lambda canary: _global("posix", "system", f"touch {canary}"),
    "builtins": lambda canary: _global("builtins", "exec", _python(canary)),
    "name of Python 2": lambda canary: _global("__builtin__", "execfile", str(canary)),
    "newobj": lambda canary: _global("pathlib", "PosixPath", str(canary), call=b"\x81"),
    "stack global": lambda canary: _stack_global("os", "system", f"touch {canary}"),
    "stack global, dotted": lambda canary: _stack_global("pathlib", "Path.touch", str(canary)),
    "inst": lambda canary: _old_instance("os", "system", f"touch {canary}"),
    "obj": lambda canary: _old_object("os", "system", f"touch {canary}"),
    "memo": lambda canary: _memoised(f"touch {canary}"),
    "runpy": lambda canary: _global("runpy", "run_path", str(canary)),
    "torch.load": lambda canary: _global("torch.serialization", "load", str(canary)),
    "torch.hub": lambda canary: _global("torch.hub", "_import_module", str(canary)),
    "numpy.load": lambda canary: _global("numpy", "load", str(canary)),
    "persistent id": lambda canary: b"\x80\x02cos\nsystem\n(V" + f"touch {canary}".encode() + b"\ntRQ.",
}
HARMLESS_ALONE = {"name of Python 2", "newobj", "runpy", "torch.load", "torch.hub", "numpy.load", "attrgetter"}
"""Payloads that unpickling alone does not turn into the canary: they name what must not be called all the same."""


def _chain(canary: Path) -> bytes:
    """getattr(__import__("os"), "system")("touch ...")."""
    return (
        b"\x80\x02cbuiltins\ngetattr\n(cbuiltins\n__import__\n(Vos\ntRVsystem\ntR(V"
        + f"touch {canary}".encode()
        + b"\ntR."
    )


def _plain(payload: bytes, path: Path) -> None:
    path.write_bytes(payload)


def _zip(payload: bytes, path: Path) -> None:
    """The layout of torch.save, with another pickle inside."""
    with zipfile.ZipFile(path, "w") as file:
        for name, content in (("data.pkl", payload), ("version", b"3\n"), ("byteorder", b"little")):
            file.writestr(f"archive/{name}", content)


def _nested_zip(payload: bytes, path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as file:
        file.writestr("archive/data.pkl", payload)
    _zip(inner.getvalue(), path)


def _tar(payload: bytes, path: Path) -> None:
    """The layout of torch before 2017."""
    with tarfile.open(path, "w") as tar:
        for name in ("pickle", "tensors", "storages", "sys_info"):
            info = tarfile.TarInfo(name)
            info.size = len(payload)
            tar.addfile(info, io.BytesIO(payload))


def _legacy(payload: bytes, path: Path) -> None:
    """The layout of torch before 1.6: a number, a protocol, the system, then the pickle."""
    head = b"".join(pickle.dumps(each, 2) for each in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    path.write_bytes(head + payload)


def _torch_script(payload: bytes, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in (("constants.pkl", payload), ("data.pkl", payload), ("version", b"3\n")):
            file.writestr(f"archive/{name}", content)


WRAPPINGS = {
    "plain": _plain,
    "zip": _zip,
    "zip in zip": _nested_zip,
    "tar": _tar,
    "legacy": _legacy,
    "script": _torch_script,
}


def _folder(path: Path, name: str, config: dict[str, Any], config_name: str = "config.json") -> Path:
    """Make a folder of a model whose weights are that file."""
    folder = path.with_suffix("")
    folder.mkdir(exist_ok=True)
    (folder / config_name).write_text(json.dumps(config), "utf-8")
    path.replace(folder / name)
    return folder


def _through_find(path: Path) -> None:
    find("owlv2", str(_folder(path, "pytorch_model.bin", {"model_type": "owlv2"})), "OWLv2 model", ["owlv2"])


def _through_detector(path: Path) -> None:
    load_detector(f"owlv2:{_folder(path, 'pytorch_model.bin', {'model_type': 'owlv2'})}")


def _through_local_dir(path: Path) -> None:
    config: dict[str, Any] = {"model_cfg": {}, "preprocess_cfg": {}}
    load_tagger(f"open_clip:local-dir:{_folder(path, 'open_clip_model.pth', config, 'open_clip_config.json')}")


ENTRIES: dict[str, Callable[[Path], Any]] = {
    "read_state": read_state,
    "find": _through_find,
    "owlv2": _through_detector,
    "open_clip": lambda path: load_tagger(f"open_clip:ViT-B-32/{path}"),
    "open_clip local-dir": _through_local_dir,
    "sam": lambda path: load_segmenter(f"sam:vit_b@{path}"),
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_no_payload_runs_whatever_wraps_it_and_wherever_it_comes_in(tmp_path, name):
    canary = tmp_path / "canary"
    for wrapping, wrap in WRAPPINGS.items():
        for entry, load in ENTRIES.items():
            path = tmp_path / f"{wrapping}-{entry}.pth".replace(" ", "-")
            wrap(PAYLOADS[name](canary), path)
            with pytest.raises(BadWeights):
                load(path)
            assert not canary.exists(), (wrapping, entry)


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".ckpt", ".safetensors"])
def test_no_payload_runs_under_another_suffix(tmp_path, suffix):
    canary = tmp_path / "canary"
    for name, payload in PAYLOADS.items():
        for wrapping, wrap in WRAPPINGS.items():
            path = tmp_path / f"w{suffix}"
            wrap(payload(canary), path)
            with pytest.raises(BadWeights):
                read_state(path)
            assert not canary.exists(), (name, wrapping)


@pytest.mark.parametrize("name", sorted(PAYLOADS.keys() - HARMLESS_ALONE))
def test_the_payloads_are_real(tmp_path, name):
    """What the tests above show to be stopped would run in an ordinary unpickler."""
    canary = tmp_path / "canary"
    try:
        answer = pickle.loads(PAYLOADS[name](canary))
        getattr(answer, "close", lambda: None)()
    except pickle.UnpicklingError:  # the persistent id is looked up after the call
        pass
    assert canary.exists()
