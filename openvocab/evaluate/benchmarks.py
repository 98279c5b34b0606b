"""Published results on benchmarks as data, to compare a measurement with."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

__all__ = ["Benchmark", "benchmarks"]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """The published result of one model on one benchmark.

    Attributes:
        name: Name of the row.
        model: The model, as its source names it.
        data: The benchmark, and the unit of its metrics.
        metrics: Metric -> value, as printed in the source.
        source: URL of the source.
        command: How openvocab measures the metrics; empty where it does not compute them.
        note: What to know when comparing; may be empty.
    """

    name: str
    model: str
    data: str
    metrics: Mapping[str, float]
    source: str
    command: str
    note: str

    @property
    def figures(self) -> str:
        """The metrics in one line."""
        return ", ".join(f"{name} {value:g}" for name, value in self.metrics.items())


@cache
def benchmarks() -> Mapping[str, Benchmark]:
    """Return the published results that ship with openvocab, by name."""
    whole = tomllib.loads(files("openvocab").joinpath("evaluate/benchmarks.toml").read_text("utf-8"))
    made = {}
    for name, row in whole["benchmark"].items():
        data, metrics = whole["data"][row["data"]], MappingProxyType(row["metrics"])
        source, command = whole["source"][row["source"]]["url"], data.get("command", "")
        made[name] = Benchmark(name, row["model"], data["name"], metrics, source, command, row.get("note", ""))
    return MappingProxyType(made)
