// Nothing that a person did is dropped without asking: closing the page, and opening another image.

import { text } from "./strings.js";

const REMOVE = '#work-image button[aria-label="Clear"], #work-image button[aria-label="Remove Image"]';
const REMOVED = 1000; // milliseconds in which the page takes the image as removed, of which Gradio then still sends the path
const OPENS = {
  click: `#work-files, #work-examples button, ${REMOVE}`,
  change: "#work-image input[type=file]",
  drop: "#work-image",
};

// Why leaving the image would lose something: prompts without an object, or edits of an image that no run keeps.
export function unsaved({ prompts, adding, place, edits }) {
  if (prompts.length && prompts !== adding) return text.leavePrompts;
  return edits && !place ? text.leaveEdits : "";
}

export function guardLeaving(app) {
  const folder = () => (app.root.dataset.unsaved === "yes" ? text.leaveFolder : "");
  const may = (event) => {
    const why = (app.state.image && unsaved(app.state)) || (event?.target.closest("#work-files") ? folder() : "");
    return !why || window.confirm(why);
  };
  app.root.addEventListener("cv-leave", (event) => may() || event.preventDefault());
  window.addEventListener("beforeunload", (event) => {
    if (app.queue.busy || folder() || (app.state.image && unsaved(app.state))) event.preventDefault();
  });
  for (const name of Object.keys(OPENS)) document.addEventListener(name, (event) => declined(event, may), { capture: true });
  document.addEventListener("click", (event) => event.target.closest?.(REMOVE) && removed(app), { capture: true });
}

function removed({ root }) {
  root.dataset.removed = "yes";
  setTimeout(() => delete root.dataset.removed, REMOVED);
}

// A click on an example, a chosen file or a dropped one opens another image.
function declined(event, may) {
  if (!event.target.closest?.(OPENS[event.type]) || may(event)) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  if (event.type === "change") event.target.value = "";
}
