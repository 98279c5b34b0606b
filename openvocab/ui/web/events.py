"""Options of Gradio event listeners."""

from __future__ import annotations

from typing import Any

__all__ = ["MODEL", "QUICK"]

MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
"""Handlers that call a model: they share one queue, and one of them runs at a time."""

QUICK: dict[str, Any] = {"api_visibility": "private", "queue": False, "show_progress": "hidden"}
"""Handlers that call no model: they bypass the queue and are not part of the API."""
