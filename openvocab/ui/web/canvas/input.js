// Buttons, fields and keys of the workspace.

import { setSize } from "./brush.js";
import { commands, setInside, setTool } from "./commands.js";
import { commandOf, stepOf } from "./keys.js";
import { listenToPointer } from "./pointer.js";
import { doubleClick, nudgeEnded } from "./vertices.js";

const LABELS = "#work-labels textarea";

export function listen(app) {
  const { canvas, root } = app;
  listenToPointer(app);
  canvas.addEventListener("dblclick", () => doubleClick(app));
  canvas.addEventListener("keyup", () => nudgeEnded(app));
  canvas.addEventListener("blur", () => nudgeEnded(app));
  root.addEventListener("keydown", (event) => keyDown(app, event));
  document.addEventListener("keydown", (event) => event.target === document.body && canvas.offsetParent && keyDown(app, event));
  document.addEventListener("keydown", (event) => runStarted(app, event));
  for (const button of app.all("[data-do]")) button.addEventListener("click", (event) => commands[button.dataset.do](app, event));
  for (const button of app.all("[data-tool]")) button.addEventListener("click", () => setTool(app, button.dataset.tool));
  for (const button of app.all("[data-inside]")) button.addEventListener("click", () => setInside(app, button.dataset.inside === "yes"));
  for (const group of app.all('[role="radiogroup"]')) group.addEventListener("keydown", (event) => arrowIn(event, "[role=radio]", (next) => next.click()));
  app.find(".cv-words").addEventListener("keydown", (event) => arrowIn(event, "button:not(:disabled)", stopAt));
  app.find("[data-opacity]").addEventListener("input", (event) => { app.state.opacity = Number(event.target.value); app.draw(); });
  app.find("[data-size]").addEventListener("input", (event) => setSize(app, Number(event.target.value)));
  app.find(".cv-rename").addEventListener("submit", (event) => renameAll(app, event));
  document.addEventListener("input", (event) => thresholdMoved(app, event));
}

// A slider that is raised hides objects at once; the server's answer follows.
function thresholdMoved(app, event) {
  const name = event.target.closest?.("[id^=work-][id$=-threshold]")?.id.replace("work-", "").replace("-", "_");
  if (!name) return;
  app.state.thresholds = { ...app.state.thresholds, [name]: Number(event.target.value) };
  app.draw();
}

function renameAll(app, event) {
  event.preventDefault();
  const field = event.target.querySelector("input");
  if (field.value.trim()) app.send({ do: "rename_all", old: app.state.filter, name: field.value });
  app.state.filter = "";
  field.value = "";
}

// Arrow keys move the focus along the buttons of a group; `reach` is called with the next button and all of them before.
function arrowIn(event, query, reach) {
  const step = stepOf(event.key);
  const buttons = [...event.currentTarget.querySelectorAll(query)];
  const at = buttons.indexOf(document.activeElement);
  if (!step || at < 0) return;
  event.preventDefault();
  event.stopPropagation();
  const next = buttons[(at + step + buttons.length) % buttons.length];
  reach(next, buttons);
  next.focus();
}

// Tab returns to this button of its group.
function stopAt(next, buttons) {
  for (const each of buttons) each.tabIndex = each === next ? 0 : -1;
}

// Enter in the labels runs the models: keys then act on the image, and are not typed into the labels.
function runStarted(app, event) {
  const runs = event.key === "Enter" && !event.shiftKey && !event.isComposing && event.target.matches?.(LABELS);
  if (runs && app.state.image) setTimeout(() => app.canvas.focus({ preventScroll: true }));
}

function keyDown(app, event) {
  const { canvas, nameBox, state } = app;
  const typing = event.target.tagName === "INPUT" && event.target.type !== "range";
  const adds = event.target === nameBox && event.key === "Enter";
  if (!adds && (typing || !state.image)) return;
  const name = adds ? "accept" : commandOf(event, event.target === canvas);
  if (!name) return;
  event.preventDefault();
  if (!adds) event.stopPropagation();
  commands[name](app, event);
}
