"""How the page's events are answered: what Gradio is told of each."""

from __future__ import annotations

from typing import Any

__all__ = ["MODEL", "QUICK"]

MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
"""Of events that call a model: one at a time, in turn with those of all tabs and visitors."""

QUICK: dict[str, Any] = {"api_visibility": "private", "queue": False, "show_progress": "hidden"}
"""Of inner steps that call no model: at once, past the queue, and no call for programs."""
