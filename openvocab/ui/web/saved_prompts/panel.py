"""The fields "Prompt file" of the workspace."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from openvocab import BadInput, Prompt
from openvocab.pipeline.nbytes import nbytes_of
from openvocab.ui.web.download_buttons import DOWNLOAD
from openvocab.ui.web.error_messages import report_errors
from openvocab.ui.web.events import QUICK
from openvocab.ui.web.html_component import html_component
from openvocab.ui.web.images import file_name, image_files
from openvocab.ui.web.label_files.read import as_typed
from openvocab.ui.web.lru_store import LRUStore
from openvocab.ui.web.saved_prompts import page_prompt
from openvocab.ui.web.texts import strings

if TYPE_CHECKING:
    from openvocab.ui.web.context import Context
    from openvocab.ui.web.workspace_handlers import WorkspaceHandlers

__all__ = ["PromptHandlers", "PromptPanel", "prompt_panel"]

_HOUR = 3600
_GONE = "this prompt file is no longer stored on the server; choose it again"


class PromptHandlers:
    """The handlers; loaded prompts are stored under tokens."""

    def __init__(self, context: Context, workspace: WorkspaceHandlers) -> None:
        """Use the models of a context and the handlers of its workspace."""
        self._context, self._workspace = context, workspace
        self._store: LRUStore[Prompt] = LRUStore(context.limits.cache_bytes // 4)

    def load(self, files: list[str] | None) -> tuple[str, str, str | None, dict[str, Any]]:
        """Read a prompt file; return its words, its negative words, its token and a note."""
        prompt = page_prompt.read_upload(files, self._context.limits.pixels)
        shown = len(prompt.exemplars) + len(prompt.memory), len(prompt.negative_exemplars), len(prompt.marks)
        note = strings.loaded_prompt(file_name(files[0] if files else None), *shown)
        key = self._store.put(prompt, nbytes_of(prompt))
        words, negatives = as_typed(prompt.labels), as_typed(prompt.negative_labels)
        return words, negatives, key, {"text": note}

    def forget(self, key: str | None) -> None:
        """Drop a loaded prompt."""
        self._store.discard(key)

    def run(
        self,
        image: str | None,
        words: str,
        preset: str,
        token: str | None,
        negatives: str,
        key: str | None,
        *thresholds: float,
        chosen: bool = False,
    ) -> Iterator[tuple[Any, Any, Any]]:
        """Run the workspace for what is typed and loaded; marks of the prompt become edits of its objects."""
        prompt = self._composed(words, negatives, key)
        run = partial(self._workspace.run, chosen=chosen)
        if prompt is None or not prompt.marks:
            yield from run(image, prompt or words, preset, token, *thresholds)
            return
        if prompt.classes:
            for step in run(image, replace(prompt, marks=()), preset, token, *thresholds):
                token = step[2]
                yield step
        else:
            token = self._workspace.open(image, preset, token)[2]
        yield self._workspace.changed(token, lambda now, pipe: page_prompt.with_marked(now, pipe, prompt))

    def run_chosen(self, *inputs: Any) -> Iterator[tuple[Any, Any, Any]]:
        """Run the workspace for an image that was just chosen; see run."""
        yield from self.run(*inputs, chosen=True)

    def save(self, token: str | None, words: str, negatives: str, key: str | None, marks: bool) -> str:
        """Write what is on the page to a prompt file and return its path.

        Raises:
            BadInput: there is nothing to save.
        """
        prompt = self._composed(words, negatives, key) or page_prompt.of_words(words)
        if token is not None:
            prompt = page_prompt.with_objects(prompt, self._context.workspaces.get(token), marks=marks)
        if not (prompt.classes or prompt.negative_labels or prompt.negative_exemplars or prompt.marks):
            raise BadInput("there is nothing to save; type labels, or add an object in the image")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "prompt.json"
            prompt.save(path)
            return str(save_file_to_cache(path, cache_dir=get_upload_folder()))

    def _composed(self, words: str, negatives: str, key: str | None) -> Prompt | None:
        """Return the prompt that is typed and loaded; None where words alone are typed.

        Raises:
            BadInput: the prompt was evicted, or a label is invalid.
        """
        try:
            loaded = None if key is None else self._store.get(key)
        except BadInput as error:
            raise BadInput(_GONE) from error
        return page_prompt.composed(loaded, words or "", negatives or "")


@dataclass(frozen=True, slots=True)
class PromptPanel:
    """The components that a run reads, and the handlers.

    Attributes:
        handlers: The handlers.
        negatives: Labels that are not meant.
        key: Token of the loaded prompt.
    """

    handlers: PromptHandlers
    negatives: gr.Textbox
    key: gr.State

    @property
    def inputs(self) -> list[Any]:
        """The inputs of a run that come before the thresholds."""
        return [self.negatives, self.key]


def prompt_panel(context: Context, workspace: WorkspaceHandlers, labels: gr.Textbox, token: gr.State) -> PromptPanel:
    """Lay out the fields and connect loading and saving.

    Args:
        context: State of the page.
        workspace: The handlers of the workspace.
        labels: The words of the workspace.
        token: The token of its image.
    """
    handlers = PromptHandlers(context, workspace)
    with gr.Accordion(strings.PROMPT_FILES, open=False, elem_id="work-prompt"):
        with gr.Row():
            file = image_files(label=strings.LOAD_PROMPT, file_types=[".json"], height=140, elem_id="work-prompt-file")
            with gr.Column():
                negatives = gr.Textbox(
                    label=strings.NOT_MEANT, placeholder=strings.NOT_MEANT_EXAMPLE, elem_id="work-negatives"
                )
                marks = gr.Checkbox(label=strings.AS_MARKS, elem_id="work-prompt-marks")
            save = gr.Button(strings.SAVE_PROMPT, size="sm", elem_id="work-prompt-save")
        note = html_component("note", {"text": strings.PROMPT_HELP}, elem_id="work-prompt-note")
    made = gr.File(visible="hidden", elem_id="work-prompt-made", elem_classes="ov-hidden")
    key = gr.State(None, time_to_live=_HOUR, delete_callback=handlers.forget)
    file.upload(report_errors(handlers.load), [file], [labels, negatives, key, note], **QUICK)
    file.clear(lambda: (None, {"text": strings.PROMPT_HELP}), None, [key, note], **QUICK)
    written = save.click(report_errors(handlers.save), [token, labels, negatives, key, marks], [made], **QUICK)
    written.success(None, [made], None, js=DOWNLOAD, api_visibility="private")
    return PromptPanel(handlers, negatives, key)
