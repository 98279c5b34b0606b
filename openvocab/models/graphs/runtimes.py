"""Compile and run exported graphs with OpenVINO or ONNX Runtime, on the CPU."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor

from openvocab.errors import BadInput, BadWeights, require
from openvocab.models.device import pick_device, pick_dtype
from openvocab.weights.files import first_line

__all__ = ["FORMATS", "Format", "Graph", "require_silently", "run_dtype", "without_telemetry"]


class Graph(Protocol):
    """A compiled graph; it may be called in several threads."""

    def __call__(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Return the outputs by name; every input is named."""
        ...


@dataclass(frozen=True, slots=True)
class Format:
    """A file format and its runtime.

    Attributes:
        name: The family's name, and the value of --format.
        packages: The packages that write and run it, whose versions are recorded.
        suffix: Of the file that is loaded.
        compile: Compiles a file: (path, dtype "float32" or "bfloat16") -> graph.
        halves: Whether the runtime computes in bfloat16.
    """

    name: str
    packages: tuple[str, ...]
    suffix: str
    compile: Callable[[Path, str], Graph]
    halves: bool


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Let OpenVINO and NNCF find no telemetry client; with one, they report imports and conversions to a server."""
    name = "openvino_telemetry"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


def require_silently(module: str, *, extra: str) -> ModuleType:
    """Import an optional module that would report its use over the network, without that report.

    Raises:
        MissingExtra: It is not installed.
    """
    with without_telemetry():
        return require(module, extra=extra)


def run_dtype(form: Format, device: str | None, dtype: str | None) -> str:
    """Return the precision that a graph runs in: "bfloat16" where it is wanted and the runtime has it, else "float32".

    Raises:
        BadInput: The device is not the CPU, or there is no such precision.
    """
    if device is not None and torch.device(device).type != "cpu":
        raise BadInput(f"{form.name}: exported models run on the CPU, not on {device!r}; leave out the device")
    wanted = str(pick_dtype(pick_device("cpu"), dtype)).removeprefix("torch.")
    return "bfloat16" if form.halves and wanted == "bfloat16" else "float32"


class _OpenVino:
    """A graph of OpenVINO; each thread has its own inference request."""

    def __init__(self, compiled: Any, names: Sequence[str]) -> None:
        self._compiled, self._names, self._local = compiled, names, threading.local()

    def __call__(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Return the outputs by name."""
        if not hasattr(self._local, "request"):
            self._local.request = self._compiled.create_infer_request()
        given = {name: value.detach().contiguous().numpy() for name, value in inputs.items()}
        made = self._local.request.infer(given, share_inputs=True)
        return {name: torch.from_numpy(made[place]) for place, name in enumerate(self._names)}


def _openvino(path: Path, dtype: str) -> Graph:
    """Compile an .xml file and the .bin file beside it."""
    core = require_silently("openvino", extra="openvino").Core()
    hints = {"bfloat16": "bf16", "float32": "f32"}
    options = {
        "INFERENCE_PRECISION_HINT": hints[dtype],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    try:
        model = core.read_model(str(path))
        names = [output.get_any_name() for output in model.outputs]  # compiling may add others
        return _OpenVino(core.compile_model(model, "CPU", options), names)
    except RuntimeError as error:
        raise BadWeights(f"{path}: OpenVINO cannot compile this file: {first_line(error)}") from error


class _OnnxRuntime:
    """A graph of ONNX Runtime."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._names = [output.name for output in session.get_outputs()]

    def __call__(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Return the outputs by name."""
        given = {name: value.detach().contiguous().numpy() for name, value in inputs.items()}
        made: Sequence[Any] = self._session.run(self._names, given)
        return {name: torch.from_numpy(value) for name, value in zip(self._names, made, strict=True)}


def _onnx(path: Path, dtype: str) -> Graph:
    """Compile an .onnx file; its threads do not spin, so that other threads may decode images meanwhile."""
    runtime = require("onnxruntime", extra="onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return _OnnxRuntime(runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]))
    except Exception as error:  # its errors have no class in common
        raise BadWeights(f"{path}: ONNX Runtime cannot compile this file: {first_line(error)}") from error


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "openvino": Format("openvino", ("openvino",), ".xml", _openvino, True),
        "onnx": Format("onnx", ("onnx", "onnxruntime"), ".onnx", _onnx, False),
    }
)
