"""The stages that can be exported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from torch import Tensor

from openvocab.models.export.detectors import DetectorExport
from openvocab.models.export.samples import Samples
from openvocab.models.export.segmenters import SegmenterExport
from openvocab.models.export.taggers import TaggerExport
from openvocab.models.export.write import GraphSource
from openvocab.pipeline.protocols import ImageArray

__all__ = ["STAGES", "StageExport"]


class StageExport(Protocol):
    """How the models of a stage are exported and compared.

    Attributes:
        quantizes: Whether the image tower may have 8-bit weights and activations.
    """

    quantizes: bool

    def graphs(self, loaded: Any, image: ImageArray) -> list[GraphSource]:
        """Return the parts of a loaded stage, the image tower first; image is any image."""
        ...

    def pixels(self, loaded: Any, image: ImageArray) -> Tensor:
        """Return the input of the image tower for an image, (1, ...)."""
        ...

    def save(self, loaded: Any, folder: Path) -> dict[str, Any]:
        """Write the files that the stage needs beside its graphs, and return the settings of its record."""
        ...

    def kind(self, loaded: Any) -> str:
        """Return the family that prepares images and words when the export is loaded."""
        ...

    def load(self, form: str, folder: Path, dtype: str | None) -> Any:
        """Load what was written into a folder, in that precision."""
        ...

    def answers(self, loaded: Any, samples: Samples) -> Any:
        """Return the answers of the torch stage, which compare takes."""
        ...

    def compare(self, loaded: Any, answers: Any, exported: Any, samples: Samples) -> dict[str, Any]:
        """Return the checks of a record; "cosine_min" is among them, and, where it quantizes, "top1_agreement"."""
        ...


STAGES: Mapping[str, StageExport] = MappingProxyType(
    {"tagger": TaggerExport(), "detector": DetectorExport(), "segmenter": SegmenterExport()}
)
