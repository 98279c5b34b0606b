"""Get files from the hub, through huggingface_hub: its cache, its locks, HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE."""

from __future__ import annotations

from pathlib import Path

from openvocab.errors import BadWeights
from openvocab.weights.files import first_line

__all__ = ["hub_file"]


def hub_file(repository: str, name: str, revision: str | None = None) -> Path | None:
    """Return a file of a repository, from the cache where it is, else fetched; None where there is no such file.

    Raises:
        BadWeights: the repository cannot be reached or read, or, offline, the file is not in the cache.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, name, revision=revision))
    except LocalEntryNotFoundError as error:
        raise BadWeights(f"{repository}: {name} is not in the cache and cannot be fetched now") from error
    except EntryNotFoundError:
        return None
    except Exception as error:  # each client library under the hub raises its own
        raise BadWeights(f"{repository}: {name} could not be fetched: {first_line(error)}") from error
