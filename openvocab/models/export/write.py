"""Write a torch module as a graph of OpenVINO or ONNX, in float32 or with 8-bit weights and activations."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from openvocab.errors import BadInput, require
from openvocab.models.graphs.runtimes import Format, require_silently, without_telemetry
from openvocab.weights.files import first_line

__all__ = ["GraphSource", "require_writer", "versions_of", "write_graph"]

_LARGE = 1 << 30
"""Bytes of weights; more do not go into one .onnx file, which is at most 2 GiB."""


@dataclass(frozen=True, slots=True)
class GraphSource:
    """A part of a model to be exported.

    Attributes:
        name: Of its file, without the suffix.
        module: In evaluation mode, in float32, on the CPU; it is called with inputs by name and returns a tuple.
        inputs: Name -> an example; in the order of the module's parameters.
        dynamic: Name -> the axes whose length is free.
        outputs: Names of what it returns.
    """

    name: str
    module: nn.Module
    inputs: Mapping[str, Tensor]
    dynamic: Mapping[str, tuple[int, ...]]
    outputs: tuple[str, ...]


def require_writer(form: Format, *, int8: bool) -> None:
    """Check that the packages are there that write a format.

    Raises:
        MissingExtra: One of them is not installed.
    """
    names = {"openvino": ("openvino",), "onnx": ("onnx", "onnxscript", "onnxruntime")}[form.name]
    for name in (*names, *(("nncf",) if int8 else ())):
        require_silently(name, extra="openvino" if name == "nncf" else form.name)


def versions_of(form: Format, *, int8: bool) -> dict[str, str]:
    """Return the versions of the packages that make an export."""
    names = ("openvocab", "torch", *form.packages, *(("nncf",) if int8 else ()))
    return {name: version(name) for name in names}


def write_graph(form: Format, source: GraphSource, folder: Path, calibration: Sequence[Tensor] | None = None) -> int:
    """Write one graph into a folder; return the version of its operators, 0 where the format has none.

    Args:
        form: The format.
        source: What is written.
        folder: It gets NAME.onnx, or NAME.xml and NAME.bin.
        calibration: Values of the only input from which the ranges of 8-bit activations are taken; None writes float32.

    Raises:
        BadInput: The module cannot be exported.
    """
    write: Callable[..., int] = {"openvino": _write_openvino, "onnx": _write_onnx}[form.name]
    for old in folder.glob(f"{source.name}.*"):
        old.unlink()  # a loaded graph may have it mapped into memory, so it is not overwritten
    with _quiet():
        return write(source, folder / f"{source.name}{form.suffix}", calibration)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what exporters print, log and warn about; fused attention layers cannot be exported."""
    fused = torch.backends.mha.get_fastpath_enabled()
    disabled = logging.root.manager.disable
    torch.backends.mha.set_fastpath_enabled(False)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), without_telemetry(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        torch.backends.mha.set_fastpath_enabled(fused)


@contextmanager
def _exporting(source: GraphSource) -> Iterator[None]:
    """Call an exporter, whose errors are of many classes.

    Raises:
        BadInput: It cannot follow the module's code.
    """
    try:
        with torch.no_grad():
            yield
    except Exception as error:
        raise BadInput(f"the {source.name} graph of this model cannot be exported: {first_line(error)}") from error


def _program(source: GraphSource) -> Any:
    """Return the torch.export.ExportedProgram of a module."""
    free = torch.export.Dim.DYNAMIC
    shapes = {name: dict.fromkeys(source.dynamic.get(name, ()), free) for name in source.inputs}
    return torch.export.export(source.module, (), dict(source.inputs), dynamic_shapes=shapes, strict=False)


def _write_openvino(source: GraphSource, path: Path, calibration: Sequence[Tensor] | None) -> int:
    openvino = require_silently("openvino", extra="openvino")
    shapes = {name: list(value.shape) for name, value in source.inputs.items()}
    for name, axes in source.dynamic.items():
        for axis in axes:
            shapes[name][axis] = -1
    with _exporting(source):  # a module is traced, in a sixth of the time of torch.export; checks show if that is wrong
        model = openvino.convert_model(source.module, example_input=dict(source.inputs), input=shapes)
    for ports, names in ((model.inputs, source.inputs), (model.outputs, source.outputs)):
        for port, name in zip(ports, names, strict=True):
            port.get_tensor().set_names({name})
    model.validate_nodes_and_infer_types()
    made = model if calibration is None else _quantized(model, source, calibration)
    openvino.save_model(made, str(path), compress_to_fp16=False)
    return 0


def _write_onnx(source: GraphSource, path: Path, calibration: Sequence[Tensor] | None) -> int:
    onnx = require("onnx", extra="onnx")
    require("onnxscript", extra="onnx")
    weights = sum(value.nbytes for value in source.module.state_dict().values())
    names: Any = {"input_names": list(source.inputs), "output_names": list(source.outputs)}
    with _exporting(source):
        torch.onnx.export(_program(source), f=path, **names, external_data=weights > _LARGE, verbose=False)
    if calibration is not None:
        onnx.save(_quantized(onnx.load(str(path)), source, calibration), str(path))
    return int(onnx.load(str(path), load_external_data=False).opset_import[0].version)


def _quantized(model: Any, source: GraphSource, calibration: Sequence[Tensor]) -> Any:
    """Return a model whose products have 8-bit weights and activations."""
    nncf = require_silently("nncf", extra="openvino")
    (name,) = source.inputs
    data = nncf.Dataset([{name: value.numpy()} for value in calibration])
    return nncf.quantize(
        model,
        data,
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(calibration),
    )
