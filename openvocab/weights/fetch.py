"""Fetch files from the hub through huggingface_hub (its cache, locks, HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE) or by URL.

Error messages never contain the text of a request, which may hold a token.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from openvocab.errors import BadWeights
from openvocab.weights.files import verify
from openvocab.weights.folders import cache_folder, temporary_beside

__all__ = ["hub_file", "hub_listing", "hub_reach", "offline", "url_file", "url_path"]

_LOCK_SECONDS = 3600
_ANSWER_SECONDS = 10
_SERVER = 500


def offline() -> bool:
    """Whether the network must not be used: HF_HUB_OFFLINE=1 or --offline."""
    from huggingface_hub.constants import is_offline_mode

    return bool(is_offline_mode())


def hub_file(repository: str, name: str, revision: str | None = None) -> Path | None:
    """Return a file of a repository, from the cache or fetched; None if there is no such file.

    Raises:
        BadWeights: the repository is absent, gated or out of reach, the file could not be fetched whole, the disk is
            full, or, offline, the file is not in the cache.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    known = try_to_load_from_cache(repository, name, revision=revision)
    with _as_bad_weights(f"{repository}: {name}", repository):
        if known is None and not offline():
            _reach(repository, revision)
        try:
            return Path(hf_hub_download(repository, name, revision=revision))
        except LocalEntryNotFoundError:  # out of reach; the hub may have said before that there is no such file
            if known is None or isinstance(known, str):
                raise
            return None
        except EntryNotFoundError:
            return None


@lru_cache(maxsize=128)
def _reach(repository: str, revision: str | None) -> None:
    """Request a repository's metadata once, before a file of it is fetched.

    This fails at once if the hub is out of reach. A download retries silently for half a minute for each file.
    """
    from huggingface_hub import HfApi

    HfApi().model_info(repository, revision=revision, timeout=_ANSWER_SECONDS)


def hub_reach(repository: str, revision: str | None = None) -> None:
    """Request a repository's metadata, to fail early if it cannot be fetched.

    Raises:
        BadWeights: it is absent or out of reach, or openvocab is offline.
    """
    with _as_bad_weights(repository, repository):
        _reach(repository, revision)


def hub_listing(repository: str, revision: str | None = None) -> tuple[str, ...]:
    """Return the names of the files of a repository.

    Raises:
        BadWeights: the repository is absent, gated or out of reach, or openvocab is offline.
    """
    from huggingface_hub import HfApi

    with _as_bad_weights(f"{repository}: the list of its files", repository):
        found = HfApi().model_info(repository, revision=revision).siblings
    return tuple(file.rfilename for file in found or ())


def url_path(url: str) -> Path | None:
    """Return the cache path of a URL's file; None if there is no cache folder."""
    folder = cache_folder()
    if folder is None:
        return None
    return folder / "urls" / hashlib.sha256(url.encode()).hexdigest()[:12] / Path(urlsplit(url).path).name


def url_file(url: str, sha256: str | None = None, size: int | None = None) -> Path:
    """Return the file of a URL, from the cache, or fetched, verified and moved into the cache.

    Args:
        sha256: what the file must have; None for no check.
        size: its length in bytes; None takes what the server says.

    Raises:
        BadWeights: it cannot be reached or fetched whole, is another file, the disk is full, there is no cache
            folder, or openvocab is offline and the file is not in the cache.
    """
    from filelock import FileLock

    path = url_path(url)
    if path is None:
        raise BadWeights(f"{url}: there is no cache folder; set OPENVOCAB_CACHE to one")
    if path.is_file():
        return path
    with _as_bad_weights(url, ""):
        if offline():
            raise FileNotFoundError(errno.ENOENT, "not in the cache")
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(path.name + ".lock"), timeout=_LOCK_SECONDS):
            if not path.is_file():
                _download(url, path, sha256, size)
    return path


def _download(url: str, path: Path, sha256: str | None, size: int | None) -> None:
    """Fetch into a temporary file beside path, verify it, and rename it to path.

    With a digest, an interrupted download is kept and the next call resumes it. The lock of path admits one process
    at a time.
    """
    from huggingface_hub.file_download import http_get

    part = path.with_name(f".{path.name}.part") if sha256 else temporary_beside(path)
    try:
        with part.open("r+b" if part.is_file() else "w+b") as file:
            start = file.seek(0, os.SEEK_END)
            http_get(url, file, resume_size=start, expected_size=size, displayed_filename=path.name)
        if sha256 is not None:
            verify(part, sha256, url)
        part.chmod(0o644)
        part.replace(path)
    except Exception as error:
        if sha256 is None or not _broke_off(error):
            with suppress(OSError):
                part.unlink(missing_ok=True)
        raise


def _broke_off(error: Exception) -> bool:
    """Whether a download ended because the connection broke, so that it can be resumed."""
    names = [type(each).__name__ for each in _causes(error)]
    cut = ("RemoteProtocolError", "ReadError", "IncompleteRead", "ConnectError", "ConnectionError")
    return any(name in cut or "Timeout" in name for name in names)


@contextmanager
def _as_bad_weights(what: str, repository: str) -> Iterator[None]:
    """Turn errors of the client libraries into BadWeights with one sentence."""
    try:
        yield
    except BadWeights:
        raise
    except Exception as error:  # each client library under the hub raises its own
        raise BadWeights(f"{what} {_why(error, repository)}") from error


def _why(error: Exception, repository: str) -> str:
    """Return why a fetch failed and what to do."""
    from huggingface_hub import errors

    if offline():
        return (
            "is not in the cache, and openvocab is offline; unpack a bundle that holds it, or fetch it with a network"
        )
    if isinstance(error, errors.GatedRepoError):
        return (
            f"is gated: accept its license at https://huggingface.co/{repository} with your account, then log in with "
            "hf auth login, or set HF_TOKEN"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return "could not be fetched: the hub has no such repository, or it is private and needs a token (HF_TOKEN)"
    if isinstance(error, errors.RevisionNotFoundError):
        return "could not be fetched: the repository has no such revision"
    if isinstance(error, errors.HFValidationError):
        return "could not be fetched: this is no name of a repository; write ORG/NAME, or the path of a folder"
    return f"could not be fetched: {_trouble(error)}"


def _trouble(error: Exception) -> str:
    """Return the cause of a failed fetch, found anywhere in the chain of causes."""
    chain = list(_causes(error))
    names = [type(each).__name__ for each in chain]
    status = next((code for code in map(_status, chain) if code is not None), None)
    if any(isinstance(each, OSError) and each.errno in (errno.ENOSPC, errno.EDQUOT) for each in chain):
        return "the disk is full; make room, or set HF_HOME and OPENVOCAB_CACHE to another disk"
    if any(isinstance(each, OSError) and each.errno in (errno.EACCES, errno.EROFS, errno.EPERM) for each in chain):
        return "the cache cannot be written; set HF_HOME and OPENVOCAB_CACHE to folders that can"
    if status is not None:
        return f"the server answered {status}; {_advice(status)}"
    if any("Timeout" in name for name in names):
        return "the server stopped answering; try again later, or raise HF_HUB_DOWNLOAD_TIMEOUT (seconds)"
    if any("Consistency check" in str(each) for each in chain):
        return "it arrived with a wrong length; try again"
    if any(name in ("RemoteProtocolError", "ReadError", "IncompleteRead") for name in names):
        return "the connection was cut before the end; try again"
    if any(name in ("ConnectError", "ConnectionError", "ProxyError") for name in names):
        return "the server cannot be reached; check the network, the proxy and HF_ENDPOINT"
    if any(name == "FileMetadataError" for name in names):
        return "the answer is not one of a hub; check HF_ENDPOINT, the proxy and the firewall"
    return f"{names[-1]} ({names[0]})" if names[-1] != names[0] else names[0]


def _advice(status: int) -> str:
    if status in (401, 403):
        return "check the token (HF_TOKEN) and the rights that it has"
    return "try again later" if status >= _SERVER or status == 429 else "check the name and the revision"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _status(error: BaseException) -> int | None:
    code = getattr(getattr(error, "response", None), "status_code", None)
    return code if isinstance(code, int) else None
