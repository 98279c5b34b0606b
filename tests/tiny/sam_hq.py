"""A tiny SAM-HQ checkpoint; see sam_hf."""

from tests.tiny.sam_hf import write_hq as write

__all__ = ["write"]
