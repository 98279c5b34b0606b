// The polygon tool: corners of the selected object's mask are dragged, added and deleted; each change is one edit.
// state.polygon: null, or {key, counts, rings, corner, sent}: counts identifies the mask, sent has rings without an answer.

import { objectAt } from "./objects.js";
import { select } from "./panel.js";
import { cornerAt, edgeAt, inserted, middleAfter, moved, removed, stepped } from "./polygon.js";
import { text } from "./strings.js";

const REACH = 10; // screen pixels around a corner or an edge
const MAX_KNOWN = 200;

const known = new Map(); // counts of a mask -> the rings that a person made it of, for undo and redo

const countsOf = (app, key) => app.state.objects.find((each) => each.key === key)?.mask?.counts ?? null;

// Show the polygon of the selected object, or none.
export function showPolygon(app) {
  const { state } = app;
  if (state.tool !== "polygon" || state.selected === null) {
    state.polygon = null;
    return;
  }
  const counts = countsOf(app, state.selected);
  if (state.polygon?.key === state.selected && state.polygon.counts === counts) return;
  const rings = known.get(counts) || [];
  state.polygon = { key: state.selected, counts, rings, corner: null, sent: [] };
  if (!rings.length) app.send({ do: "outline", key: state.selected });
}

export function polygonArrived(app, { key, rings }) {
  const { polygon } = app.state;
  if (polygon?.key !== key || polygon.sent.length) return;
  Object.assign(polygon, { rings, corner: null });
  app.say(rings.length ? text.polygon(rings.flat().length) : text.noMask);
  app.draw();
}

// The objects came anew; isAnswer tells whether in answer to an edit. Rings that were sent belong to the mask that came.
export function polygonObjects(app, isAnswer) {
  const { polygon } = app.state;
  if (!polygon) return showPolygon(app);
  const counts = countsOf(app, polygon.key);
  if (isAnswer && polygon.sent.length) {
    if (known.size >= MAX_KNOWN) known.delete(known.keys().next().value);
    known.set(counts, polygon.sent.shift());
    polygon.counts = counts;
  } else if (!polygon.sent.length) showPolygon(app);
}

// An edit was refused: the polygon is that of the mask again.
export function polygonFailed(app) {
  if (!app.state.polygon?.sent.length) return;
  app.state.polygon = null;
  showPolygon(app);
}

function commit(app, rings, corner) {
  const { polygon } = app.state;
  Object.assign(polygon, { rings, corner });
  polygon.sent.push(rings);
  app.send({ do: "polygon", key: polygon.key, rings });
  app.draw();
}

function mayEdit(app) {
  const { polygon, locked } = app.state;
  if (!polygon?.rings.length) return false;
  if (!locked.has(polygon.key)) return true;
  app.say(text.locked, true);
  return false;
}

// --- the pointer

// Begin a drag: of a corner, or of a new one on an edge; else of the image, and a click selects another object.
export function startCorner(app, drag) {
  const { state } = app;
  const { polygon } = state;
  const reach = REACH / state.view.scale;
  const corner = polygon && cornerAt(polygon.rings, drag.from, reach);
  const edge = polygon && !corner && edgeAt(polygon.rings, drag.from, reach);
  if (!corner && !edge) {
    drag.moves = true;
    const found = objectAt(app.shown(), drag.from, state, app.decoded);
    if (found) select(app, found.key);
    return showPolygon(app);
  }
  if (!mayEdit(app)) return;
  Object.assign(drag, { corner: corner || { ring: edge.ring, at: edge.at }, isNew: !corner, rings: polygon.rings });
  polygon.rings = corner ? polygon.rings : inserted(polygon.rings, edge);
  polygon.corner = drag.corner;
}

export function dragCorner(app, drag) {
  if (drag.corner && drag.moved) app.state.polygon.rings = moved(app.state.polygon.rings, drag.corner, drag.to);
}

// The drag became a pinch, or the browser took it: the polygon is as before.
export function cancelCorner(app, drag) {
  if (drag.corner && app.state.polygon) Object.assign(app.state.polygon, { rings: drag.rings, corner: null });
  drag.corner = null;
}

export function finishCorner(app, drag) {
  if (drag.corner && (drag.moved || drag.isNew)) commit(app, app.state.polygon.rings, drag.corner);
}

export function doubleClick(app) {
  if (app.state.tool === "polygon" && app.state.polygon?.corner) removeCorner(app);
}

// --- commands

export function removeCorner(app) {
  const { polygon } = app.state;
  if (!polygon?.corner) return app.say(text.cornerChoose);
  if (!mayEdit(app)) return;
  const rings = removed(polygon.rings, polygon.corner);
  if (!rings) return app.say(text.lastCorners, true);
  const { ring, at } = polygon.corner;
  commit(app, rings, rings.length === polygon.rings.length ? { ring, at: Math.min(at, rings[ring].length - 1) } : null);
}

export function insertCorner(app) {
  const { polygon } = app.state;
  if (!polygon?.corner) return app.say(text.cornerChoose);
  const place = middleAfter(polygon.rings, polygon.corner);
  if (mayEdit(app)) commit(app, inserted(polygon.rings, place), { ring: place.ring, at: place.at });
}

export function stepCorner(app, by) {
  const { polygon } = app.state;
  if (!polygon?.rings.length) return app.say(text.selectFirst);
  polygon.corner = stepped(polygon.rings, polygon.corner, by);
  const [x, y] = polygon.rings[polygon.corner.ring][polygon.corner.at];
  app.reveal([x, y]);
  app.say(text.corner(Math.round(x), Math.round(y)));
  app.draw();
}

// Arrow keys move the chosen corner; the edit is sent when the key is released. Returns whether there is one.
export function nudgeCorner(app, [right, down], step) {
  const { polygon, width, height } = app.state;
  if (app.state.tool !== "polygon" || !polygon?.corner) return false;
  if (!mayEdit(app)) return true;
  const [x, y] = polygon.rings[polygon.corner.ring][polygon.corner.at];
  const to = [Math.min(Math.max(x + right * step, 0), width), Math.min(Math.max(y + down * step, 0), height)];
  polygon.rings = moved(polygon.rings, polygon.corner, to);
  polygon.nudged = true;
  app.reveal(to);
  app.say(text.corner(...to.map(Math.round)));
  app.draw();
  return true;
}

export function nudgeEnded(app) {
  const { polygon } = app.state;
  if (!polygon?.nudged) return;
  polygon.nudged = false;
  commit(app, polygon.rings, polygon.corner);
}
