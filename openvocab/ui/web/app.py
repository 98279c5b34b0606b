"""The page: a header and four tabs over one context."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gradio as gr

from openvocab.ui.web import about_tab, api, batch_tab, segment_call, tag_tab, workspace_tab
from openvocab.ui.web.everything import call as everything_call
from openvocab.ui.web.saved_prompts import call as prompt_call
from openvocab.ui.web.texts import strings

if TYPE_CHECKING:
    from openvocab.ui.web.context import Context

__all__ = ["build"]

_HEADER = f"""
<header class="ov-header">
  <div>
    <h1>openvocab</h1>
    <p>{strings.HEADLINE}</p>
  </div>
  <button type="button" class="ov-theme" aria-label="{strings.THEME}">
    <span class="ov-sun" aria-hidden="true">☀</span><span class="ov-moon" aria-hidden="true">☾</span>
  </button>
</header>
"""
_THEME_SWITCH = """
element.querySelector('.ov-theme').addEventListener('click', () => {
  const dark = document.body.classList.toggle('dark');
  try { localStorage.setItem('openvocab-theme', dark ? 'dark' : 'light'); } catch (error) { return; }
});
"""
_HOUR = 3600


def build(context: Context) -> gr.Blocks:
    """Build the page. To serve it, pass theme.launch_options()."""
    page: gr.Blocks
    with gr.Blocks(title="openvocab", analytics_enabled=False, fill_width=True, delete_cache=(_HOUR, _HOUR)) as page:
        gr.HTML(html_template=_HEADER, js_on_load=_THEME_SWITCH, elem_id="ov-top", apply_default_css=False)
        with gr.Tabs(elem_id="ov-tabs"):
            with gr.Tab(strings.WORKSPACE, id="workspace"):
                workspace_tab.build(context)
            with gr.Tab(strings.TAG, id="tag"):
                tag_tab.build(context)
            with gr.Tab(strings.BATCH, id="batch"):
                batch_tab.build(context)
            with gr.Tab(strings.ABOUT, id="about"):
                about_tab.build(context)
        api.build(context)
        segment_call.build(context)
        prompt_call.build(context)
        everything_call.build(context)
    return page
