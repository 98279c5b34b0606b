// What keys and buttons do in the workspace.

import { paint, paints, showSize, stepSize } from "./brush.js";
import { directionOf } from "./keys.js";
import { choose, setPrompts } from "./main.js";
import { keyAfter, labelKeys, objectAt } from "./objects.js";
import { addObject, labelClicked, listPanel, nextObject, removeObject, select } from "./panel.js";
import { boxBetween, withPrompt } from "./prompts.js";
import { pointNext, restorePointed } from "./rejected.js";
import { togglePanel } from "./room.js";
import { text } from "./strings.js";
import { insertCorner, nudgeCorner, removeCorner, showPolygon, stepCorner } from "./vertices.js";
import { centered, fit, zoomAt } from "./viewport.js";

// --- tools

export function setTool(app, tool) {
  app.state.tool = tool;
  app.root.dataset.tool = tool;
  for (const button of app.all("[data-tool]")) check(button, button.dataset.tool === tool);
  if ((tool === "polygon" || paints(tool)) && app.state.selected === null) app.say(text.selectFirst);
  showSize(app);
  showPolygon(app);
  app.draw();
}

export function setInside(app, inside) {
  app.state.inside = inside;
  for (const button of app.all("[data-inside]")) check(button, (button.dataset.inside === "yes") === inside);
}

function check(button, checked) {
  button.setAttribute("aria-checked", String(checked));
  button.tabIndex = checked ? 0 : -1;
}

function switchInside(app) {
  setInside(app, !app.state.inside);
  app.say(app.state.inside ? text.marksObject : text.marksBackground);
}

// --- changes

function undo(app) {
  const { state } = app;
  if (state.history.length) {
    state.undone.push(state.prompts);
    return setPrompts(app, state.history.pop());
  }
  app.send({ do: "undo" });
}

function redo(app) {
  const { state } = app;
  if (state.undone.length) {
    state.history.push(state.prompts);
    return setPrompts(app, state.undone.pop());
  }
  app.send({ do: "redo" });
}

function removeSelected(app) {
  const { state } = app;
  if (state.polygon) return removeCorner(app);
  if (state.selected !== null) return removeObject(app, state.selected);
  if (state.selectedPrompt === null) return app.say(text.notSelected);
  changePrompts(app, state.prompts.filter((each) => each !== state.selectedPrompt));
}

function accept(app) {
  const { state } = app;
  if (!state.prompts.length) return app.say(text.promptFirst);
  addObject(app, app.nameBox.value);
}

function clean(app) {
  if (app.state.selected === null) return app.say(text.selectFirst);
  app.send({ do: "clean", key: app.state.selected });
}

function number(app, event) {
  const { state } = app;
  const row = Number(event.key) - 1;
  if (state.masks.length) return choose(app, row);
  const label = labelKeys(state.words, state.objects)[row];
  if (!label) return;
  if (!state.selected) return app.say(text.selectFirst);
  labelClicked(app, label);
}

function changePrompts(app, prompts) {
  app.state.history.push(app.state.prompts);
  app.state.undone = [];
  setPrompts(app, prompts);
}

export function addPrompt(app, prompt) {
  const { state } = app;
  if (!prompt) return;
  Object.assign(state, { selected: null, selectedPrompt: prompt });
  changePrompts(app, withPrompt(state.prompts === state.adding ? [] : state.prompts, prompt));
  listPanel(app);
}

// --- the view

function zoom(app, factor) {
  const { state } = app;
  app.setView(zoomAt(state.view, [state.screen.width / 2, state.screen.height / 2], factor, state, state.screen));
}

function escape(app) {
  if (app.state.polygon?.corner) {
    app.state.polygon.corner = null;
    return app.draw();
  }
  const { drag, corner: started, selected, prompts } = app.state;
  if (prompts.length && !drag && !started && selected === null) {
    changePrompts(app, []);
    return app.say(text.promptsCleared);
  }
  Object.assign(app.state, { drag: null, corner: null, selectedPrompt: null, selected: null, pointed: null, filter: "" });
  showPolygon(app);
  listPanel(app);
  app.draw();
}

// The brackets change the brush while a tool paints; braces always select.
const bracket = (app, by) => (paints(app.state.tool) ? stepSize(app, by) : step(app, by));

function step(app, by) {
  const key = keyAfter(app.shown(), app.state.selected, by);
  if (key !== null) select(app, key);
}

function hide(app) {
  const { state } = app;
  if (state.selected === null) return app.say(text.selectFirst);
  if (!state.hidden.delete(state.selected)) state.hidden.add(state.selected);
  listPanel(app);
  app.draw();
}

// --- the crosshair of the keyboard

const clamp = (value, max) => Math.min(Math.max(value, 0), max);
export const clipped = ({ state }, [x, y]) => [clamp(x, state.width), clamp(y, state.height)];

function arrow(app, event) {
  const { state } = app;
  const by = event.shiftKey ? 1 : Math.max(1, 8 / state.view.scale);
  const [x, y] = state.crosshair || [state.width / 2, state.height / 2];
  const [right, down] = directionOf(event.key);
  if (nudgeCorner(app, [right, down], by)) return;
  state.crosshair = state.crosshair ? clipped(app, [x + right * by, y + down * by]) : [x, y];
  state.pointer = null;
  app.reveal(state.crosshair);
  app.say(text.crosshair(...state.crosshair.map(Math.round)));
  app.draw();
}

function corner(app) {
  const { state } = app;
  if (!state.crosshair) return app.say(text.cornerFirst);
  if (!state.corner) {
    state.corner = state.crosshair;
    app.say(paints(state.tool) ? text.strokeEnd : text.cornerSecond);
    return app.draw();
  }
  const from = state.corner;
  state.corner = null;
  const box = boxBetween(from, state.crosshair);
  if (paints(state.tool)) paint(app, [from, state.crosshair]);
  else if (state.tool === "select" && state.selected !== null) moveBox(app, box?.xyxy);
  else addPrompt(app, box);
  app.draw();
}

// Give the selected object another box.
export function moveBox(app, xyxy) {
  const { locked, selected: key } = app.state;
  if (!xyxy) return;
  if (locked.has(key)) return app.say(text.locked, true);
  app.send({ do: "box", key, xyxy });
}

function mark(app, event) {
  const { state } = app;
  if (!state.crosshair) return app.say(text.crosshairFirst);
  if (paints(state.tool)) return paint(app, [state.crosshair]);
  if (state.tool !== "select") return addPrompt(app, { kind: "point", at: [...state.crosshair], inside: state.inside !== event.shiftKey });
  const found = objectAt(app.shown(), state.crosshair, state, app.decoded);
  if (!found) return app.say(text.noObjectAt);
  select(app, found.key);
}

// The commands of keys.js and of the buttons with data-do; each gets the application and the event.
export const commands = {
  undo,
  redo,
  clean,
  accept,
  remove: removeSelected,
  next: nextObject,
  number,
  switchInside,
  select: (app) => setTool(app, "select"),
  point: (app) => setTool(app, "point"),
  brush: (app) => setTool(app, "brush"),
  eraser: (app) => setTool(app, "eraser"),
  polygon: (app) => setTool(app, "polygon"),
  insertCorner,
  nextCorner: (app) => stepCorner(app, 1),
  previousCorner: (app) => stepCorner(app, -1),
  nextObject: (app) => step(app, 1),
  previousObject: (app) => step(app, -1),
  nextOrLarger: (app) => bracket(app, 1),
  previousOrSmaller: (app) => bracket(app, -1),
  hide,
  panel: togglePanel,
  labels: () => document.querySelector("#work-labels textarea")?.focus(),
  rejected: (app, event) => pointNext(app, event.shiftKey ? -1 : 1),
  restore: (app, event) => restorePointed(app, event.shiftKey),
  escape,
  arrow,
  corner,
  mark,
  zoomIn: (app) => zoom(app, 1.4),
  zoomOut: (app) => zoom(app, 1 / 1.4),
  fit: (app) => app.setView(fit(app.state, app.state.screen)),
  actual: (app) => app.setView(centered(app.state, app.state.screen, 1)),
};
