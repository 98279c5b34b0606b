// An image is shown as soon as it is chosen, before the server has opened it. Prompts on it wait: they are asked once it
// is open, and dropped with the server's sentence if it cannot be opened. app.before is the state to go back to.

import { load } from "./dom.js";
import { rescale } from "./prompts.js";
import { text } from "./strings.js";

const FILES = "#work-image";
const EXAMPLES = "#work-examples button";
const REFUSED = '.error [data-testid="toast-text"]';

// Listen for chosen images, after guardLeaving, which may decline a choice.
export function listenToChoices(app) {
  const chosen = (event) => event.target.closest?.(FILES) && previewFile(app, (event.dataTransfer || event.target).files?.[0]);
  for (const name of ["change", "drop"]) document.addEventListener(name, chosen, { capture: true });
  document.addEventListener("click", (event) => preview(app, event.target.closest?.(EXAMPLES)?.querySelector("img")), { capture: true });
  app.root.addEventListener("cv-opening", (event) => preview(app, event.detail));
  app.root.addEventListener("cv-stays", () => stays(app, text.notOpened));
  new MutationObserver((changes) => refused(app, changes)).observe(document.body, { childList: true, subtree: true });
}

async function previewFile(app, file) {
  if (!file) return;
  const { opens } = app.state;
  const url = URL.createObjectURL(file);
  const image = await load(url);
  URL.revokeObjectURL(url);
  if (app.state.opens === opens) preview(app, image); // else the server was faster
}

function preview(app, image) {
  if (!image?.naturalWidth) return;
  app.before ||= app.state;
  app.begin({ opening: true, image, width: image.naturalWidth, height: image.naturalHeight });
  app.root.dataset.opening = "yes";
  app.say(text.opening);
}

// What is kept of a preview for the opened image of this size; nothing if the preview is of another image.
export function keptOf({ state }, { width, height }) {
  const shape = width / height;
  const isSame = Math.abs(state.width / state.height - shape) <= shape * (1 / state.width + 1 / state.height);
  if (!state.opening || !isSame) return {};
  const factors = [width / state.width, height / state.height];
  const { image, view, prompts, history, undone, selectedPrompt, drag, crosshair, corner } = rescale(state, factors);
  return { image, view: { ...view, scale: view.scale / factors[0] }, prompts, history, undone, selectedPrompt, drag, crosshair, corner };
}

// No other image is opened: the one before is shown again.
function stays(app, note) {
  const { before, missed } = app;
  if (!before) return;
  const none = { prompts: [], history: [], undone: [], selectedPrompt: null, adding: null, removed: new Set(), drag: null, corner: null };
  app.begin({ ...before, ...none });
  app.root.dataset.drawn = "yes";
  app.before = app.missed = null;
  if (missed) app.receive(missed);
  app.say(note, true);
}

// Gradio tells that an upload or a request was refused, and then the server sends no message.
function refused(app, changes) {
  if (!app.before) return;
  const added = changes.flatMap((each) => [...each.addedNodes]).filter((each) => each.querySelector);
  const note = added.map((each) => (each.matches(REFUSED) ? each : each.querySelector(REFUSED))).find(Boolean);
  if (note) stays(app, note.textContent.trim());
}
