// Mouse, touch and wheel on the image.

import { paint, paints } from "./brush.js";
import { addPrompt, clipped, moveBox } from "./commands.js";
import { dragBox, handleAt, objectAt } from "./objects.js";
import { listPanel, select } from "./panel.js";
import { boxBetween, promptAt, shapeOf } from "./prompts.js";
import { text } from "./strings.js";
import { cancelCorner, dragCorner, finishCorner, startCorner } from "./vertices.js";
import { pan, pinched, toImage, zoomAt } from "./viewport.js";

const CLICK_TOLERANCE = 5; // screen pixels that a click may move
const HIT_RADIUS = 10; // screen pixels around a prompt or an edge that select it
const MAX_PATH = 2000;

const reachOf = ({ state }) => HIT_RADIUS / state.view.scale;

export function listenToPointer(app) {
  const { canvas } = app;
  canvas.addEventListener("pointerdown", (event) => pointerDown(app, event));
  canvas.addEventListener("pointermove", (event) => pointerMove(app, event));
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => pointerUp(app, event));
  canvas.addEventListener("pointerleave", () => hover(app, null));
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => wheel(app, event), { passive: false });
}

function screenPoint(app, event) {
  const frame = app.canvas.getBoundingClientRect();
  return [event.clientX - frame.left, event.clientY - frame.top];
}

const shape = ({ state }, drag) => shapeOf(state.tool, drag, state.radius / state.view.scale);

function pointerDown(app, event) {
  const { canvas, state } = app;
  if (!state.image || (state.drag && state.drag.pointer === event.pointerId)) return;
  event.preventDefault();
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  if (state.drag) return startPinch(app, event);
  const at = screenPoint(app, event);
  const from = clipped(app, toImage(state.view, at));
  const moves = event.button === 1;
  const drag = { pointer: event.pointerId, at, last: at, from, to: from, path: [from], moved: false, primary: event.button === 0, moves };
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
  const handle = chosen && handleAt(chosen.box, drag.from, reachOf(app));
  if (handle && handle !== "move") return Object.assign(drag, { handle, start: chosen.box });
  const found = objectAt(app.shown(), drag.from, state, app.decoded);
  if (found && found.key === state.selected) return Object.assign(drag, { handle: "move", start: found.box });
  drag.moves = !found;
  select(app, found ? found.key : null);
}

function startPinch(app, event) {
  const { state } = app;
  const secondAt = screenPoint(app, event);
  cancelCorner(app, state.drag);
  state.drag = { ...state.drag, moves: true, moved: true, second: event.pointerId, secondAt, shape: null, handle: null, box: null };
}

// The circle of the brush follows the pointer.
function hover(app, at) {
  app.state.pointer = at;
  if (paints(app.state.tool)) app.draw();
}

function pointerMove(app, event) {
  const { state } = app;
  const { drag } = state;
  hover(app, screenPoint(app, event));
  if (!drag || (event.pointerId !== drag.pointer && event.pointerId !== drag.second)) return;
  const at = screenPoint(app, event);
  if (drag.second !== undefined) return pinch(app, event, at);
  drag.moved = drag.moved || Math.hypot(at[0] - drag.at[0], at[1] - drag.at[1]) > CLICK_TOLERANCE;
  if (drag.moves) {
    if (drag.moved) app.setView(pan(state.view, at[0] - drag.last[0], at[1] - drag.last[1], state, state.screen));
    drag.last = at;
    return;
  }
  drag.last = at;
  drag.to = clipped(app, toImage(state.view, at));
  const [x, y] = drag.path.at(-1);
  if (Math.hypot(drag.to[0] - x, drag.to[1] - y) * state.view.scale > 3 && drag.path.length < MAX_PATH) drag.path.push(drag.to);
  if (drag.handle && drag.moved) drag.box = dragBox(drag.start, drag.handle, [drag.to[0] - drag.from[0], drag.to[1] - drag.from[1]], state);
  else if (state.tool === "polygon") dragCorner(app, drag);
  else if (state.tool !== "select") drag.shape = drag.moved || paints(state.tool) ? shape(app, drag) : null;
  app.draw();
}

function pinch(app, event, at) {
  const { state } = app;
  const { drag } = state;
  const before = [drag.last, drag.secondAt];
  Object.assign(drag, event.pointerId === drag.second ? { secondAt: at } : { last: at });
  app.setView(pinched(state.view, before, [drag.last, drag.secondAt], state, state.screen));
}

function pointerUp(app, event) {
  const { state } = app;
  const { drag } = state;
  if (!drag || (event.pointerId !== drag.pointer && event.pointerId !== drag.second)) return;
  if (drag.second === undefined) pointerMove(app, event);
  state.drag = null;
  if (!drag.moves && event.type === "pointerup") finish(app, drag);
  else if (event.type === "pointercancel") cancelCorner(app, drag);
  app.draw();
}

function finish(app, drag) {
  const { state } = app;
  if (state.tool === "select") return moveBox(app, drag.box);
  if (state.tool === "polygon") return finishCorner(app, drag);
  if (paints(state.tool)) return paint(app, drag.path);
  if (state.tool === "stroke" && drag.moved) return addPrompt(app, { kind: "stroke", path: drag.path, inside: drag.inside });
  if (drag.moved && drag.primary) return addPrompt(app, boxBetween(drag.from, drag.to));
  const existing = promptAt(state.prompts, drag.from, reachOf(app));
  if (existing) {
    Object.assign(state, { selectedPrompt: existing, selected: null });
    return listPanel(app);
  }
  if (state.tool === "box") return app.say(text.boxHint);
  addPrompt(app, { kind: "point", at: drag.from, inside: drag.inside });
}

function wheel(app, event) {
  const { state } = app;
  if (!state.image) return;
  event.preventDefault();
  app.setView(zoomAt(state.view, screenPoint(app, event), Math.exp(-event.deltaY / 400), state, state.screen));
}
