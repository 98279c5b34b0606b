"""The page's theme: system fonts, one accent color, light and dark; and its style sheet."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import gradio as gr

__all__ = ["launch_options", "theme"]

_SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Liberation Sans", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace")
_TEAL = ("#f0f9f8", "#d6efec", "#addfd9", "#7ac8c0", "#45aba2", "#258f87", "#14746e", "#125d59", "#124b48", "#123f3d")
_SLATE = ("#f7f8fa", "#eef0f3", "#dfe3e8", "#c6ccd4", "#949dab", "#667080", "#4a5361", "#343c48", "#222831", "#171b21")
_DEEPEST = ("#0a2423", "#0f1216")

_VALUES = {
    "body_background_fill": "*neutral_50",
    "body_background_fill_dark": "*neutral_950",
    "body_text_color_subdued": "*neutral_600",
    "body_text_color_subdued_dark": "*neutral_400",
    "background_fill_primary": "white",
    "background_fill_primary_dark": "*neutral_900",
    "background_fill_secondary": "*neutral_50",
    "background_fill_secondary_dark": "*neutral_800",
    "block_background_fill": "white",
    "block_background_fill_dark": "*neutral_900",
    "block_border_color": "*neutral_200",
    "block_border_color_dark": "*neutral_700",
    "block_label_background_fill": "transparent",
    "block_label_background_fill_dark": "transparent",
    "block_label_border_width": "0px",
    "block_label_text_color": "*neutral_600",
    "block_label_text_color_dark": "*neutral_300",
    "block_title_text_color": "*neutral_700",
    "block_title_text_color_dark": "*neutral_200",
    "block_title_text_weight": "600",
    "block_info_text_color": "*neutral_600",
    "block_info_text_color_dark": "*neutral_400",
    "block_shadow": "none",
    "block_shadow_dark": "none",
    "border_color_primary": "*neutral_200",
    "border_color_primary_dark": "*neutral_700",
    "input_background_fill": "white",
    "input_background_fill_dark": "*neutral_800",
    "input_border_color": "*neutral_300",
    "input_border_color_dark": "*neutral_600",
    "input_border_color_focus": "*primary_600",
    "input_border_color_focus_dark": "*primary_400",
    "input_shadow": "none",
    "button_primary_background_fill": "*primary_600",
    "button_primary_background_fill_hover": "*primary_700",
    "button_primary_background_fill_dark": "*primary_600",
    "button_primary_background_fill_hover_dark": "*primary_700",
    "button_primary_text_color": "white",
    "button_primary_text_color_dark": "white",
    "button_secondary_background_fill": "white",
    "button_secondary_background_fill_hover": "*neutral_100",
    "button_secondary_background_fill_dark": "*neutral_800",
    "button_secondary_background_fill_hover_dark": "*neutral_700",
    "button_secondary_border_color": "*neutral_300",
    "button_secondary_border_color_dark": "*neutral_600",
    "button_border_width": "1px",
    "slider_color": "*primary_600",
    "slider_color_dark": "*primary_400",
    "link_text_color": "*primary_700",
    "link_text_color_dark": "*primary_300",
}
"""Theme variables that differ from gradio.themes.Base; "*name" refers to another variable."""


def theme() -> Any:
    """Return the theme; it uses no web fonts."""
    accent, neutral = (
        gr.themes.Color(*steps, darkest) for steps, darkest in zip((_TEAL, _SLATE), _DEEPEST, strict=True)
    )
    made = gr.themes.Base(
        primary_hue=accent,
        secondary_hue=accent,
        neutral_hue=neutral,
        radius_size=gr.themes.sizes.radius_md,
        spacing_size=gr.themes.sizes.spacing_md,
        font=list(_SANS),
        font_mono=list(_MONO),
    )
    return made.set(**_VALUES)


_HEAD = ("texts/strings.js", "head.js")


def launch_options() -> dict[str, Any]:
    """Return options of Blocks.launch and mount_gradio_app: theme, css, head and footer links."""
    folder = files("openvocab.ui.web")
    return {
        "theme": theme(),
        "css": folder.joinpath("page.css").read_text("utf-8"),
        "head": "<script>{\n" + "".join(folder.joinpath(each).read_text("utf-8") for each in _HEAD) + "}</script>",
        "footer_links": ["api"],
    }
