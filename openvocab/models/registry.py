"""The model families of each stage, and the functions that turn a SPEC into a loaded stage.

A SPEC is FAMILY:CHECKPOINT, or FAMILY alone if the family needs no checkpoint's name. A family's code is imported when
one of its checkpoints is loaded. Another package adds families by entry points in the groups openvocab.taggers,
openvocab.detectors and openvocab.segmenters; a script adds them with register_tagger, register_detector and
register_segmenter.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Generic

from openvocab.errors import BadInput, OpenVocabWarning, unknown
from openvocab.models import families as builtin
from openvocab.models.families import Factory, Family, StageT
from openvocab.pipeline.protocols import (
    Captioner,
    Detector,
    ExemplarSegmenter,
    PromptSegmenter,
    Segmenter,
    Tagger,
)
from openvocab.weights.files import first_line

if TYPE_CHECKING:
    from openvocab.models.device import DeviceLike, DtypeLike

__all__ = [
    "CAPTIONERS",
    "DETECTORS",
    "EXEMPLAR_SEGMENTERS",
    "REGISTRIES",
    "SEGMENTERS",
    "TAGGERS",
    "Registry",
    "families",
    "load_captioner",
    "load_detector",
    "load_exemplar_segmenter",
    "load_segmenter",
    "load_tagger",
    "register_detector",
    "register_segmenter",
    "register_tagger",
    "split_segmenters",
]


class Registry(Generic[StageT]):
    """The model families of one stage. Iterating yields their names and imports none of them.

    Args:
        stage: The stage's name, for messages.
        protocol: What a loaded stage must implement.
        own: The built-in families by name.
        group: The group of entry points that add families; None if there is none.
    """

    def __init__(
        self, stage: str, protocol: type[Any], own: Mapping[str, Family[StageT]], group: str | None = None
    ) -> None:
        self.stage, self.group, self._protocol, self._families = stage, group, protocol, dict(own)

    def __iter__(self) -> Iterator[str]:
        yield from {**self._families, **self._installed}

    def register(self, name: str, factory: Factory[StageT]) -> None:
        """Add a family to this process.

        Raises:
            BadInput: The name is taken or has a colon or a space, or the factory cannot be called.
        """
        if not name or not set(name).isdisjoint(": \t\n"):
            raise BadInput(f"{self.stage} family {name!r}: a name is one word without a colon")
        if not callable(factory):
            raise BadInput(f"{self.stage} family {name!r}: the factory must be callable, got {factory!r:.100}")
        known = self._families.get(name)
        if known is not None and known.load is factory:
            return
        if name in self:
            raise BadInput(f"there is a {self.stage} family {name!r} already; register yours under another name")
        self._families[name] = Family(factory, package=str(getattr(factory, "__module__", "")).partition(".")[0])

    def load(self, spec: str, device: DeviceLike = None, dtype: DtypeLike = None) -> StageT:
        """Load the checkpoint that a SPEC names; see load_tagger."""
        name, _, checkpoint = spec.partition(":")
        family = self._family(name)
        if family.example and not checkpoint:
            raise BadInput(f"{self.stage} {spec!r} names no checkpoint; write it as {family.example}")
        loaded = family.load(
            checkpoint,
            None if device is None else str(device),
            None if dtype is None else str(dtype).removeprefix("torch."),
        )
        if family.package != "openvocab":
            self._check(loaded, name, family.package)
        return loaded

    def _family(self, name: str) -> Family[StageT]:
        if name not in self._families:
            if name not in self._installed:
                raise unknown(f"{self.stage} family", name, self)
            self._families[name] = self._imported(self._installed[name])
        return self._families[name]

    @cached_property
    def _installed(self) -> dict[str, EntryPoint]:
        """The families of installed packages; those whose name is taken are left out with a warning."""
        found: dict[str, EntryPoint] = {}
        for entry in sorted(entry_points(group=self.group) if self.group else (), key=_package):
            if entry.name in self._families or entry.name in found:
                other = _package(found[entry.name]) if entry.name in found else "openvocab"
                message = f"{_package(entry)}: its {self.stage} family {entry.name!r} is ignored; {other} has that name"
                warnings.warn(message, OpenVocabWarning, stacklevel=2)
            else:
                found[entry.name] = entry
        return found

    def _imported(self, entry: EntryPoint) -> Family[StageT]:
        package = _package(entry)
        where = f"{self.stage} family {entry.name!r} of the package {package}"
        try:
            factory = entry.load()
        except Exception as error:  # whatever the other package raises when it is imported
            why = f"{type(error).__name__}: {first_line(error)}"
            raise BadInput(f"{where} cannot be imported ({why}); update or uninstall {package}") from error
        if not callable(factory):
            raise BadInput(f"{where}: {entry.value} is not callable; update or uninstall {package}")
        return Family(factory, package=package)

    def _check(self, loaded: Any, name: str, package: str) -> None:
        wanted = {each for base in self._protocol.__mro__ for each in vars(base) if not each.startswith("_")}
        lacking = sorted(wanted.difference(dir(loaded)))
        if lacking:
            raise BadInput(
                f"{self.stage} family {name!r} of {package} loaded a {type(loaded).__name__} without "
                f"{', '.join(lacking)}; a {self.stage} implements openvocab.{self._protocol.__name__}"
            )


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value.partition(":")[0]


TAGGERS: Registry[Tagger] = Registry("tagger", Tagger, builtin.TAGGERS, "openvocab.taggers")
DETECTORS: Registry[Detector] = Registry("detector", Detector, builtin.DETECTORS, "openvocab.detectors")
SEGMENTERS: Registry[Segmenter[Any]] = Registry("segmenter", Segmenter, builtin.SEGMENTERS, "openvocab.segmenters")
EXEMPLAR_SEGMENTERS: Registry[ExemplarSegmenter] = Registry(
    "exemplar segmenter", ExemplarSegmenter, builtin.EXEMPLAR_SEGMENTERS
)
CAPTIONERS: Registry[Captioner] = Registry("captioner", Captioner, builtin.CAPTIONERS)
REGISTRIES: tuple[Registry[Any], ...] = (TAGGERS, DETECTORS, SEGMENTERS, EXEMPLAR_SEGMENTERS, CAPTIONERS)


def families() -> dict[str, tuple[str, ...]]:
    """Return the names of each stage's model families, those of installed packages included."""
    return {registry.stage: tuple(registry) for registry in REGISTRIES}


def register_tagger(name: str, factory: Factory[Tagger]) -> None:
    """Add a tagger family to this process, so that load_tagger("name:ID") and every SPEC of a tagger know it.

    Worker processes import the main script again, so call it at the top of the script, outside its main guard. A
    package that is installed adds families by entry points instead.

    Args:
        name: One word without a colon.
        factory: Called with the checkpoint ("" if the SPEC names none), the device's name and the dtype's name (None
            for the best there is). It returns the loaded tagger.

    Raises:
        BadInput: The name is taken or has a colon or a space, or the factory cannot be called.
    """
    TAGGERS.register(name, factory)


def register_detector(name: str, factory: Factory[Detector]) -> None:
    """Add a detector family to this process; see register_tagger."""
    DETECTORS.register(name, factory)


def register_segmenter(name: str, factory: Factory[Segmenter[Any]]) -> None:
    """Add a segmenter family to this process; see register_tagger."""
    SEGMENTERS.register(name, factory)


def load_tagger(spec: str, device: DeviceLike = None, dtype: DtypeLike = None) -> Tagger:
    """Load a tagger, e.g. open_clip:ViT-B-32/laion2b_s34b_b79k, open_clip:local-dir:PATH or pocket.

    Args:
        spec: FAMILY:CHECKPOINT; families() lists the families.
        device: "cuda", "cuda:1", "mps", "cpu" or a torch.device; None for the best there is.
        dtype: "float32", "bfloat16", "float16" or a torch.dtype; None for bfloat16 if the hardware multiplies it fast,
            else float32.

    Raises:
        UnknownName: There is no such family or architecture.
        BadInput: The SPEC names no checkpoint, the device or dtype is not there, or the family comes from a package
            that cannot be imported.
        BadWeights: The checkpoint is absent, of another architecture, or fails its digest.
    """
    return TAGGERS.load(spec, device, dtype)


def load_detector(spec: str, device: DeviceLike = None, dtype: DtypeLike = None) -> Detector:
    """Load a detector, e.g. owlv2:google/owlv2-base-patch16-ensemble, owlv2:FOLDER or pocket; see load_tagger."""
    return DETECTORS.load(spec, device, dtype)


def load_segmenter(spec: str, device: DeviceLike = None, dtype: DtypeLike = None) -> Segmenter[Any]:
    """Load a segmenter, e.g. sam:vit_b@PATH.pth or pocket; see load_tagger.

    An exemplar segmenter, e.g. seggpt:FOLDER, segments what is like the exemplars of a Prompt. SPEC+seggpt:FOLDER has
    another one for boxes and points.
    """
    boxes, exemplars = split_segmenters(spec)
    if not exemplars:
        return SEGMENTERS.load(spec, device, dtype)
    from openvocab.models.segmenters.with_exemplars import ExemplarsAlone, WithExemplars

    like = EXEMPLAR_SEGMENTERS.load(exemplars, device, dtype)
    if not boxes:
        return ExemplarsAlone(like)
    other = SEGMENTERS.load(boxes, device, dtype)
    if not isinstance(other, PromptSegmenter):
        raise BadInput(f"{boxes} takes no points, so {exemplars} cannot stand beside it; name one of the SAM family")
    return WithExemplars(like, other)


def split_segmenters(spec: str) -> tuple[str, str]:
    """Return the SPEC of a segmenter for boxes and that of an exemplar segmenter; "" for what is not named."""
    for family in EXEMPLAR_SEGMENTERS:
        boxes, mark, rest = f"+{spec}".rpartition(f"+{family}:")
        if mark:
            return boxes[1:], f"{family}:{rest}"
    return spec, ""


def load_exemplar_segmenter(spec: str, device: DeviceLike = None, dtype: DtypeLike = None) -> ExemplarSegmenter:
    """Load a segmenter that takes an example image and its mask as the prompt, e.g. seggpt:FOLDER; see load_tagger."""
    return EXEMPLAR_SEGMENTERS.load(spec, device, dtype)


def load_captioner(spec: str, device: DeviceLike = None, dtype: DtypeLike = None) -> Captioner:
    """Load a captioner, e.g. coca:coca_ViT-B-32/mscoco_finetuned_laion2b_s13b_b90k; see load_tagger."""
    return CAPTIONERS.load(spec, device, dtype)
