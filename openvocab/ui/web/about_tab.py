"""The tab About the models: loaded and available presets."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

import openvocab
from openvocab.ui.web.error_messages import report_errors
from openvocab.ui.web.events import QUICK
from openvocab.ui.web.texts import strings

if TYPE_CHECKING:
    from openvocab import Preset
    from openvocab.ui.web.context import Context

__all__ = ["about", "build"]

_STAGES = ("tagger", "detector", "segmenter")


def build(context: Context) -> None:
    """Lay out the tab inside the open one."""
    tables = gr.HTML(_page(about(context)), apply_default_css=False, elem_id="about-models", elem_classes="ov-part")
    refresh = gr.Button(strings.REFRESH, size="sm", elem_id="about-refresh", elem_classes="ov-narrow")
    refresh.click(report_errors(lambda: _page(about(context))), None, [tables], **QUICK)


def about(context: Context) -> dict[str, Any]:
    """Return the loaded and the available presets, and the label sets, as JSON."""
    return {
        "openvocab": openvocab.__version__,
        "loaded": [_loaded(context, name) for name in context.models.loaded],
        "offered": list(context.models.names),
        "presets": [
            {
                "name": each.name,
                "description": each.description,
                "license": each.license,
                "megabytes": round(each.size_bytes / 1e6, 1),
                "models": {stage: getattr(each, stage) for stage in _STAGES if getattr(each, stage)},
                "fetch": _fetch(each),
                "serve": f"openvocab serve --preset {each.name}",
            }
            for each in openvocab.presets()
        ],
        "label_sets": dict(openvocab.label_sets()),
    }


def _loaded(context: Context, name: str) -> dict[str, Any]:
    with context.models.using(name) as pipe:
        records = {stage: getattr(pipe, stage).record for stage in _STAGES if getattr(pipe, stage) is not None}
    license_name = next(each.license for each in openvocab.presets() if each.name == name)
    models = [
        {"stage": stage, "spec": made.spec, "sha256": made.sha256, "device": made.device, "dtype": made.dtype}
        for stage, made in records.items()
    ]
    return {"name": name, "license": license_name, "models": models}


def _fetch(preset: Preset) -> str | None:
    """Return the command that downloads the weights; None if the package contains them."""
    return None if preset.name == "pocket" else f"openvocab weights pull {preset.name}"


def _page(known: dict[str, Any]) -> str:
    """Return the tab's HTML with all text escaped."""
    return f"""<div class="ov-about">
<p class="ov-plain">{strings.embedded_models(known["label_sets"]["pocket"])}</p>
<pre><code>openvocab weights pull small
openvocab serve --preset small</code></pre>
<h2>{strings.LOADED}</h2>
{"".join(_loaded_table(each) for each in known["loaded"]) or f"<p>{strings.NONE_LOADED}</p>"}
<h2>{strings.PRESETS}</h2>
{_presets_table(known)}
</div>"""


def _loaded_table(preset: dict[str, Any]) -> str:
    rows = [
        [model["stage"], model["spec"], model["device"], model["dtype"], _digest(model["sha256"])]
        for model in preset["models"]
    ]
    return _table(strings.LOADED_COLUMNS, rows, strings.licensed(preset["name"], preset["license"]))


def _presets_table(known: dict[str, Any]) -> str:
    def state(each: dict[str, Any]) -> str:
        if each["name"] in [loaded["name"] for loaded in known["loaded"]]:
            return strings.IS_LOADED
        return strings.IS_OFFERED if each["name"] in known["offered"] else each["fetch"] or each["serve"]

    rows = [
        [each["name"], each["description"], _size(each["megabytes"]), each["license"], state(each)]
        for each in known["presets"]
    ]
    return _table(strings.PRESET_COLUMNS, rows, "")


def _table(heads: Sequence[str], rows: list[list[str]], title: str) -> str:
    caption = f"<caption>{html.escape(title)}</caption>" if title else ""
    head = "".join(f'<th scope="col">{html.escape(each)}</th>' for each in heads)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td data-head="{html.escape(head)}">{html.escape(cell)}</td>'
            for head, cell in zip(heads, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _digest(sha256: str | None) -> str:
    return sha256 or strings.UNKNOWN


def _size(megabytes: float) -> str:
    if not megabytes:
        return strings.UNKNOWN
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"
