// Pointer, wheel, keyboard and buttons of the workspace.

import { choose, setPrompts } from "./main.js";
import { dragBox, handleAt, labelKeys, objectAt } from "./objects.js";
import { labelClicked, listPanel, nextObject, removeObject, select } from "./panel.js";
import { text } from "./strings.js";
import { doubleClick, dragCorner, finishCorner, insertCorner, nudgeCorner, nudgeEnded, removeCorner, showPolygon, startCorner, stepCorner } from "./vertices.js";
import { centered, fit, pan, toImage, zoomAt } from "./viewport.js";

const CLICK_TOLERANCE = 5; // screen pixels that a click may move
const HIT_RADIUS = 10; // screen pixels around a prompt or an edge that select it
const MAX_PATH = 2000;

export function listen(app) {
  const { canvas, root } = app;
  canvas.addEventListener("pointerdown", (event) => pointerDown(app, event));
  canvas.addEventListener("pointermove", (event) => pointerMove(app, event));
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => pointerUp(app, event));
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => wheel(app, event), { passive: false });
  canvas.addEventListener("dblclick", () => doubleClick(app));
  canvas.addEventListener("keyup", () => nudgeEnded(app));
  canvas.addEventListener("blur", () => nudgeEnded(app));
  root.addEventListener("keydown", (event) => keyDown(app, event));
  for (const button of app.all("[data-do]")) button.addEventListener("click", () => commands[button.dataset.do](app));
  for (const button of app.all("[data-tool]")) button.addEventListener("click", () => setTool(app, button.dataset.tool));
  for (const button of app.all("[data-inside]")) button.addEventListener("click", () => setInside(app, button.dataset.inside === "yes"));
  for (const group of app.all('[role="radiogroup"]')) group.addEventListener("keydown", (event) => arrowInGroup(event, group));
  app.find(".cv-words").addEventListener("keydown", (event) => arrowInWords(event));
  app.find("[data-opacity]").addEventListener("input", (event) => { app.state.opacity = Number(event.target.value); app.draw(); });
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

// --- tools and commands

export function setTool(app, tool) {
  app.state.tool = tool;
  app.root.dataset.tool = tool;
  for (const button of app.all("[data-tool]")) check(button, button.dataset.tool === tool);
  if (tool === "polygon" && app.state.selected === null) app.say(text.selectFirst);
  showPolygon(app);
  app.draw();
}

function setInside(app, inside) {
  app.state.inside = inside;
  for (const button of app.all("[data-inside]")) check(button, (button.dataset.inside === "yes") === inside);
}

function check(button, checked) {
  button.setAttribute("aria-checked", String(checked));
  button.tabIndex = checked ? 0 : -1;
}

function arrowInGroup(event, group) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const buttons = [...group.querySelectorAll("[role=radio]")];
  const at = buttons.indexOf(document.activeElement);
  if (!step || at < 0) return;
  event.preventDefault();
  event.stopPropagation();
  const next = buttons[(at + step + buttons.length) % buttons.length];
  next.click();
  next.focus();
}

// Arrow keys move along the labels; Enter or space presses one.
function arrowInWords(event) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const buttons = [...event.currentTarget.querySelectorAll("button:not(:disabled)")];
  const at = buttons.indexOf(document.activeElement);
  if (!step || at < 0) return;
  event.preventDefault();
  event.stopPropagation();
  const next = buttons[(at + step + buttons.length) % buttons.length];
  for (const each of buttons) each.tabIndex = each === next ? 0 : -1;
  next.focus();
}

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
  app.send({ do: "accept", prompts: state.prompts, choice: state.choice, name: app.nameBox.value });
}

function zoom(app, factor) {
  const { state } = app;
  app.setView(zoomAt(state.view, [state.screen.width / 2, state.screen.height / 2], factor, state, state.screen));
}

function clean(app) {
  if (app.state.selected === null) return app.say(text.selectFirst);
  app.send({ do: "clean", key: app.state.selected });
}

function escape(app) {
  if (app.state.polygon?.corner) {
    app.state.polygon.corner = null;
    return app.draw();
  }
  Object.assign(app.state, { drag: null, corner: null, selectedPrompt: null, selected: null, filter: "" });
  showPolygon(app);
  listPanel(app);
  app.draw();
}

const commands = {
  undo,
  redo,
  clean,
  accept,
  remove: removeSelected,
  next: nextObject,
  zoomIn: (app) => zoom(app, 1.4),
  zoomOut: (app) => zoom(app, 1 / 1.4),
  fit: (app) => app.setView(fit(app.state, app.state.screen)),
  actual: (app) => app.setView(centered(app.state, app.state.screen, 1)),
};

// --- prompts

function changePrompts(app, prompts) {
  app.state.history.push(app.state.prompts);
  app.state.undone = [];
  setPrompts(app, prompts);
}

function add(app, prompt) {
  const { state } = app;
  state.selected = null;
  state.selectedPrompt = prompt;
  const others = prompt.kind === "box" ? state.prompts.filter((each) => each.kind !== "box") : state.prompts;
  changePrompts(app, [...others, prompt]);
  listPanel(app);
}

function addBox(app, from, to) {
  const [left, right] = [from[0], to[0]].sort((one, other) => one - other);
  const [top, bottom] = [from[1], to[1]].sort((one, other) => one - other);
  if (right > left && bottom > top) add(app, { kind: "box", xyxy: [left, top, right, bottom] });
}

// --- the pointer

const clamp = (value, max) => Math.min(Math.max(value, 0), max);
const clipped = ({ state }, [x, y]) => [clamp(x, state.width), clamp(y, state.height)];

function screenPoint(app, event) {
  const frame = app.canvas.getBoundingClientRect();
  return [event.clientX - frame.left, event.clientY - frame.top];
}

const distance = (app, one, other) => Math.hypot(one[0] - other[0], one[1] - other[1]) * app.state.view.scale;

function promptAt(app, point) {
  const corners = (prompt) => (prompt.kind === "point" ? [prompt.at] : prompt.kind === "stroke" ? prompt.path : [prompt.xyxy.slice(0, 2), prompt.xyxy.slice(2)]);
  return [...app.state.prompts].reverse().find((prompt) => corners(prompt).some((each) => distance(app, each, point) < HIT_RADIUS));
}

function pointerDown(app, event) {
  const { canvas, state } = app;
  if (!state.image || (state.drag && state.drag.pointer === event.pointerId)) return;
  event.preventDefault();
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  if (state.drag) return startPinch(app, event);
  const at = screenPoint(app, event);
  const from = clipped(app, toImage(state.view, at));
  const moves = event.button === 1 || state.space;
  const drag = { pointer: event.pointerId, at, from, to: from, path: [from], moved: false, primary: event.button === 0, moves };
  drag.inside = state.inside !== (event.button === 2 || event.shiftKey);
  state.crosshair = null;
  state.drag = drag;
  if (state.tool === "select" && !moves) startEdit(app, drag);
  if (state.tool === "polygon" && !moves) startCorner(app, drag);
  app.draw();
}

function startEdit(app, drag) {
  const { state } = app;
  const chosen = state.objects.find((each) => each.key === state.selected);
  const reach = HIT_RADIUS / state.view.scale;
  const handle = chosen && handleAt(chosen.box, drag.from, reach);
  if (handle && handle !== "move") return Object.assign(drag, { handle, start: chosen.box });
  const found = objectAt(app.shown(), drag.from, state, app.decoded);
  if (found && found.key === state.selected) return Object.assign(drag, { handle: "move", start: found.box });
  drag.moves = !found;
  select(app, found ? found.key : null);
}

function startPinch(app, event) {
  const { state } = app;
  const at = screenPoint(app, event);
  state.drag = { ...state.drag, moves: true, moved: true, second: event.pointerId, secondAt: at, shape: null, handle: null, box: null };
}

function pointerMove(app, event) {
  const { state } = app;
  const { drag } = state;
  if (!drag || (event.pointerId !== drag.pointer && event.pointerId !== drag.second)) return;
  const at = screenPoint(app, event);
  if (drag.second !== undefined) return pinch(app, event, at);
  drag.moved = drag.moved || Math.hypot(at[0] - drag.at[0], at[1] - drag.at[1]) > CLICK_TOLERANCE;
  if (drag.moves) {
    if (drag.moved) app.setView(pan(state.view, at[0] - (drag.last || drag.at)[0], at[1] - (drag.last || drag.at)[1], state, state.screen));
    drag.last = at;
    return;
  }
  drag.to = clipped(app, toImage(state.view, at));
  if (distance(app, drag.path.at(-1), drag.to) > 3 && drag.path.length < MAX_PATH) drag.path.push(drag.to);
  if (drag.handle && drag.moved) drag.box = dragBox(drag.start, drag.handle, [drag.to[0] - drag.from[0], drag.to[1] - drag.from[1]], state);
  else if (state.tool === "polygon") dragCorner(app, drag);
  else if (state.tool !== "select") drag.shape = drag.moved || state.tool === "brush" || state.tool === "eraser" ? shapeOf(app, drag) : null;
  app.draw();
}

function pinch(app, event, at) {
  const { state } = app;
  const { drag } = state;
  const first = drag.last || drag.at;
  const [moved, other] = event.pointerId === drag.second ? [drag.secondAt, first] : [first, drag.secondAt];
  const before = Math.hypot(moved[0] - other[0], moved[1] - other[1]);
  const after = Math.hypot(at[0] - other[0], at[1] - other[1]);
  if (before > 1) app.setView(zoomAt(state.view, other, after / before, state, state.screen));
  if (event.pointerId === drag.second) drag.secondAt = at;
  else drag.last = at;
}

function shapeOf(app, drag) {
  const { state } = app;
  const { path, inside } = drag;
  if (state.tool === "brush" || state.tool === "eraser") return { kind: "paint", path, inside: state.tool === "brush", radius: state.radius / state.view.scale };
  if (state.tool === "stroke" || !drag.primary) return { kind: "stroke", path, inside };
  return { kind: "box", xyxy: [...drag.from, ...drag.to] };
}

function pointerUp(app, event) {
  const { state } = app;
  const { drag } = state;
  if (!drag || (event.pointerId !== drag.pointer && event.pointerId !== drag.second)) return;
  if (drag.second === undefined) pointerMove(app, event);
  state.drag = null;
  if (!drag.moves && event.type === "pointerup") finish(app, drag);
  app.draw();
}

function finish(app, drag) {
  const { state } = app;
  if (state.tool === "select") return finishEdit(app, drag);
  if (state.tool === "polygon") return finishCorner(app, drag);
  if (state.tool === "brush" || state.tool === "eraser") return paint(app, drag);
  if (state.tool === "stroke" && drag.moved) return add(app, { kind: "stroke", path: drag.path, inside: drag.inside });
  if (drag.moved && drag.primary) return addBox(app, drag.from, drag.to);
  const existing = promptAt(app, drag.from);
  if (existing) {
    Object.assign(state, { selectedPrompt: existing, selected: null });
    return listPanel(app);
  }
  if (state.tool === "box") return app.say(text.boxHint);
  add(app, { kind: "point", at: drag.from, inside: drag.inside });
}

function finishEdit(app, drag) {
  if (!drag.box) return;
  if (app.state.locked.has(app.state.selected)) return app.say(text.locked, true);
  app.send({ do: "box", key: app.state.selected, xyxy: drag.box });
}

function paint(app, drag) {
  const { state } = app;
  if (state.selected === null) return app.say(text.selectFirst);
  if (state.locked.has(state.selected)) return app.say(text.locked, true);
  const { path, inside, radius } = shapeOf(app, drag);
  app.send({ do: "paint", key: state.selected, path, inside, radius });
}

function wheel(app, event) {
  const { state } = app;
  if (!state.image) return;
  event.preventDefault();
  app.setView(zoomAt(state.view, screenPoint(app, event), Math.exp(-event.deltaY / 400), state, state.screen));
}

// --- the keyboard

function moveCrosshair(app, event) {
  const { state } = app;
  const step = event.shiftKey ? 1 : Math.max(1, 8 / state.view.scale);
  const [x, y] = state.crosshair || [state.width / 2, state.height / 2];
  const [right, down] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (nudgeCorner(app, [right, down], step)) return;
  state.crosshair = state.crosshair ? clipped(app, [x + right * step, y + down * step]) : [x, y];
  app.say(text.crosshair(...state.crosshair.map(Math.round)));
  app.draw();
}

function setCorner(app) {
  const { state } = app;
  if (!state.crosshair) return app.say(text.cornerFirst);
  if (!state.corner) {
    state.corner = state.crosshair;
    app.say(text.cornerSecond);
    return app.draw();
  }
  const from = state.corner;
  state.corner = null;
  addBox(app, from, state.crosshair);
  app.draw();
}

function setPoint(app, event) {
  const { state } = app;
  if (!state.crosshair) return app.say(text.crosshairFirst);
  if (state.tool !== "select") return add(app, { kind: "point", at: [...state.crosshair], inside: state.inside !== event.shiftKey });
  const found = objectAt(app.shown(), state.crosshair, state, app.decoded);
  if (!found) return app.say(text.noObjectAt);
  select(app, found.key);
}

function numberKey(app, number) {
  const { state } = app;
  if (state.masks.length) return choose(app, number - 1);
  const label = labelKeys(state.words, state.objects)[number - 1];
  if (!label) return;
  if (!state.selected) return app.say(text.selectFirst);
  labelClicked(app, label);
}

function step(app, by) {
  const rows = app.shown();
  if (!rows.length) return;
  const at = rows.findIndex((each) => each.key === app.state.selected);
  select(app, rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : (at + by + rows.length) % rows.length].key);
}

function toggleHidden(app) {
  const { state } = app;
  if (state.selected === null) return app.say(text.selectFirst);
  if (!state.hidden.delete(state.selected)) state.hidden.add(state.selected);
  listPanel(app);
  app.draw();
}

const keys = {
  u: undo,
  y: redo,
  delete: removeSelected,
  backspace: removeSelected,
  n: nextObject,
  x: (app) => { setInside(app, !app.state.inside); app.say(app.state.inside ? text.marksObject : text.marksBackground); },
  b: setCorner,
  v: (app) => setTool(app, "select"),
  p: (app) => setTool(app, "point"),
  g: (app) => setTool(app, "polygon"),
  i: insertCorner,
  ".": (app) => stepCorner(app, 1),
  ",": (app) => stepCorner(app, -1),
  h: toggleHidden,
  f: commands.fit,
  o: commands.actual,
  "+": commands.zoomIn,
  "=": commands.zoomIn,
  "-": commands.zoomOut,
  "]": (app) => step(app, 1),
  "[": (app) => step(app, -1),
  escape,
};

function canvasKey(app, event) {
  if (event.key.startsWith("Arrow")) return moveCrosshair(app, event);
  return event.key === "Enter" ? accept(app) : setPoint(app, event);
}

function keyDown(app, event) {
  const { canvas, nameBox, state } = app;
  const typing = event.target.tagName === "INPUT" && event.target.type !== "range";
  const key = event.key.toLowerCase();
  if (event.target === nameBox && event.key === "Enter") {
    event.preventDefault();
    return accept(app);
  }
  if (typing || !state.image || event.altKey) return;
  const control = event.ctrlKey || event.metaKey;
  const isRedo = control && ((key === "z" && event.shiftKey) || key === "y");
  const isUndo = control && key === "z" && !event.shiftKey;
  if (control && !isUndo && !isRedo) return;
  const onCanvas = event.target === canvas && (event.key.startsWith("Arrow") || event.key === "Enter" || event.key === " ");
  const number = /^[1-9]$/.test(key) ? () => numberKey(app, Number(key)) : null;
  const action = isRedo ? redo : isUndo ? undo : onCanvas ? () => canvasKey(app, event) : number || keys[key];
  if (!action) return;
  event.preventDefault();
  event.stopPropagation();
  action(app);
}
