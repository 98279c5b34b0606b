// The workspace: its state, its requests, and what it draws. gr.HTML calls mount once.
// Coordinates are pixels of the original image. One request is sent at a time: see send.

import { brushAt } from "./brush.js";
import { load } from "./dom.js";
import { ACCENT, decoded, drawBox, drawCircle, drawCrosshair, drawName, drawPolygon, drawPrompt, drawRejected, paintMask } from "./draw.js";
import { listen } from "./input.js";
import { guardLeaving } from "./leave.js";
import { visible } from "./objects.js";
import { keptOf, listenToChoices } from "./opening.js";
import { listChoices, listLabels, listPanel } from "./panel.js";
import { remember, reopen } from "./reload.js";
import { keepRoom } from "./room.js";
import { text } from "./strings.js";
import { polygonArrived, polygonFailed, polygonObjects } from "./vertices.js";
import { bounded, fit, revealed } from "./viewport.js";

const TIMEOUT = 60000; // milliseconds until a request times out
const MODEL_ACTIONS = new Set(["segment", "accept", "box"]);

function emptyState() {
  return {
    opens: "", // random ID of the opened image
    opening: false, // whether the image is a preview that the server has not opened yet
    place: "", // key of the image in the served folder, which keeps every edit; empty for an upload
    image: null, // an Image, possibly of another size
    width: 0,
    height: 0,
    objects: [], // {key, label, score, boxScore, tagScore, box, mask, color, byHand}
    rejected: [], // {key, label, score, reason, looksLike, box}: what verification rejected
    pointed: null, // key of the rejected box that is shown in the image
    tags: [], // {label, score, color}
    presence: null, // {present, absent}, each {rows: [{label, score, color}], more}
    words: [],
    version: 0, // of the objects: those of an answer that was overtaken are older
    prompts: [], // {kind: "point", at, inside}, {kind: "stroke", path, inside}, {kind: "box", xyxy}
    history: [], // prompts before each change
    undone: [], // prompts that undo removed
    adding: null, // prompts whose mask is being added
    masks: [], // {mask, score, box}
    choice: 0, // index of the selected mask
    hovered: null, // index of the mask under the pointer
    tool: "point",
    inside: true,
    selectedPrompt: null,
    selected: null, // key of an object
    hidden: new Set(),
    removed: new Set(), // keys of objects that are being deleted
    typed: null, // {key, name}: a name that is being typed in the list
    locked: new Set(),
    filter: "", // label of the objects that are shown
    opacity: 0.4,
    radius: 8, // of the brush, in screen pixels
    pointer: null, // where the mouse is over the image, in screen pixels
    thresholds: {},
    polygon: null, // of the selected object with the polygon tool, see vertices.js
    crosshair: null, // keyboard crosshair, [x, y]
    corner: null, // first corner of a keyboard box
    drag: null, // the pointer drag in progress
    highlighted: null, // key of the object whose row is under the pointer
    screen: { width: 1, height: 1 },
    view: { scale: 1, x: 0, y: 0 },
  };
}

export function mount({ element, props, trigger, watch }) {
  const root = element.querySelector(".cv");
  const app = {
    root,
    state: emptyState(),
    canvas: root.querySelector(".cv-stage canvas"),
    nameBox: root.querySelector("[data-name]"),
    find: (query) => root.querySelector(query),
    all: (query) => [...root.querySelectorAll(query)],
    queue: { waiting: [], serial: 0, busy: null },
    before: null, // the state that a preview took the place of
    missed: null, // what the server said of the image before during the preview
    trigger,
  };
  Object.assign(app, { send: (action) => send(app, action), draw: () => requestDraw(app), say: (...note) => say(app, ...note) });
  Object.assign(app, { shown: () => shown(app.state), setView: (view) => setView(app, view), decoded });
  app.begin = (next) => begin(app, next);
  app.receive = (message) => receive(app, message);
  app.reveal = (point) => app.setView(revealed(app.state.view, point, app.state.screen));
  listen(app);
  guardLeaving(app);
  listenToChoices(app);
  keepRoom(app);
  watch("value", () => receive(app, props.value || {}));
  root.addEventListener("cv-busy", () => answer(app, { serial: app.queue.serial, note: text.tooBusy, failed: true }));
  new ResizeObserver(() => resize(app)).observe(app.canvas.parentElement);
  receive(app, props.value || {});
  root.dataset.ready = "yes";
  reopen(app);
}

// --- requests

function send(app, action) {
  const { queue } = app;
  if (app.state.opening) return action.do === "segment" || app.say(text.opensStill);
  if (action.do === "segment") queue.waiting = queue.waiting.filter((each) => each.do !== "segment");
  queue.waiting.push(action);
  sendNext(app);
}

function sendNext(app) {
  const { queue } = app;
  if (queue.busy || !queue.waiting.length) return;
  const serial = ++queue.serial;
  queue.busy = setTimeout(() => answer(app, { serial, failed: true, note: text.noAnswer }), TIMEOUT);
  app.root.dataset.busy = "yes";
  const action = queue.waiting.shift();
  app.trigger(MODEL_ACTIONS.has(action.do) ? "act" : "edit", { ...action, serial });
}

function receive(app, message) {
  if (app.before && (message.opens === undefined || message.opens === app.before.opens)) {
    app.missed = { ...app.missed, ...message };
    return;
  }
  if (message.opens !== undefined) opened(app, message);
  if (message.objects) showObjects(app, message);
  if (message.steps) scrollToResult(app, message.steps);
  if (message.serial) answer(app, message);
}

// On a phone the image is below the words: a run that starts brings it into view.
function scrollToResult(app, steps) {
  const running = steps.some((each) => each.state === "now");
  if (running && !app.running && !app.queue.busy) app.say(""); // the advice to run is done
  if (running && !app.running && window.matchMedia("(max-width: 700px)").matches) app.find(".cv-top").scrollIntoView({ block: "start" });
  app.running = running;
}

function answer(app, message) {
  const { queue, state } = app;
  if (message.serial !== queue.serial || !queue.busy) return;
  clearTimeout(queue.busy);
  queue.busy = null;
  delete app.root.dataset.busy;
  if (message.masks && state.prompts.length) showMasks(app, message.masks);
  if (message.polygon) polygonArrived(app, message.polygon);
  if (message.failed) polygonFailed(app);
  if (message.added) added(app);
  if (message.added || message.failed) state.adding = null;
  if (!queue.waiting.some((each) => each.do === "remove")) state.removed.clear();
  if (message.note) app.say(message.note, message.failed);
  sendNext(app);
}

// Show an image that the server opened, or none. Prompts that were made on its preview are asked now.
function opened(app, message) {
  const { opens, width, height, place = "", image, note = "" } = message;
  if (opens === app.state.opens || (message.again && app.state.width)) return; // an image was chosen before that one came again
  remember(message.token);
  const kept = image ? keptOf(app, message) : {};
  const dropped = app.state.opening && app.state.prompts.length && !kept.prompts;
  begin(app, { opens, width, height, place, ...kept });
  app.before = app.missed = null;
  app.say(dropped ? `${note} ${text.promptsDropped}`.trim() : note, message.failed);
  askAgain(app);
  if (image) load(image).then((found) => loaded(app, opens, found));
}

function askAgain(app) {
  const { prompts } = app.state;
  if (prompts.length) app.send({ do: "segment", prompts });
}

function loaded(app, opens, image) {
  if (app.state.opens !== opens) return; // another image was opened meanwhile
  const isFirst = !app.state.image;
  app.state.image = image;
  resize(app);
  app.setView(isFirst ? fit(app.state, app.state.screen) : app.state.view);
  app.root.dataset.drawn = "yes";
}

// Another image or none; what belongs to the tools stays.
function begin(app, next) {
  const { queue, root } = app;
  clearTimeout(queue.busy);
  Object.assign(queue, { waiting: [], busy: null, serial: queue.serial + 1 }); // no answer to an earlier request counts
  for (const name of ["busy", "drawn", "opening"]) delete root.dataset[name];
  const { tool, inside, opacity, radius, pointer, screen, thresholds } = app.state;
  app.state = Object.assign(emptyState(), next, { tool, inside, opacity, radius, pointer, screen, thresholds });
  root.dataset.empty = app.state.width ? "no" : "yes";
  showMasks(app, []);
  listPanel(app);
  app.fitHeight();
  if (app.state.width) app.setView(next.view || fit(app.state, screen));
  app.draw();
}

// Rows that have the focus keep it, although the list is made anew.
function showObjects(app, message) {
  const { state } = app;
  if (message.version < state.version) return;
  state.version = message.version ?? state.version;
  state.objects = message.objects;
  state.thresholds = {}; // the server has applied them
  for (const name of ["rejected", "tags", "presence", "words", "steps", "canUndo", "canRedo", "edits"]) {
    if (message[name] !== undefined) state[name] = message[name];
  }
  if (message.selected) state.selected = message.selected;
  if (!state.objects.some((each) => each.key === state.selected)) state.selected = null;
  if (!state.objects.some((each) => each.label === state.filter)) state.filter = "";
  polygonObjects(app, Boolean(message.serial));
  app.root.dataset.objects = String(state.objects.length);
  listPanel(app);
  app.draw();
}

// --- prompts

// A mask was added. Prompts that were made since then are those of the next object.
function added(app) {
  const { state } = app;
  if (state.prompts === state.adding) return clearPrompts(app);
  Object.assign(state, { history: [], undone: [] });
  showMasks(app, []);
}

export function setPrompts(app, prompts) {
  const { state } = app;
  state.prompts = prompts;
  if (!prompts.includes(state.selectedPrompt)) state.selectedPrompt = prompts.at(-1) || null;
  if (prompts.length) app.send({ do: "segment", prompts });
  else showMasks(app, []);
  app.draw();
}

export function clearPrompts(app) {
  app.queue.waiting = app.queue.waiting.filter((each) => each.do !== "segment");
  Object.assign(app.state, { prompts: [], history: [], undone: [], selectedPrompt: null, drag: null, corner: null });
  showMasks(app, []);
}

export function showMasks(app, masks) {
  const { state } = app;
  const scores = masks.map((mask) => mask.score);
  Object.assign(state, { masks, hovered: null, choice: Math.max(0, scores.indexOf(Math.max(...scores))) });
  listChoices(app);
  listLabels(app);
  app.draw();
  if (!masks.length) return;
  choose(app, state.choice);
  app.root.dataset.shown = String(Number(app.root.dataset.shown || 0) + 1);
}

export function choose(app, row) {
  const { state } = app;
  if (row >= state.masks.length) return;
  state.choice = row;
  app.all(".cv-choices button").forEach((button, each) => button.setAttribute("aria-checked", each === row));
  app.say(text.mask(row + 1, state.masks.length, state.masks[row].score.toFixed(2)));
  app.draw();
}

// --- drawing

function say(app, note, failed) {
  const status = app.find(".cv-status");
  status.textContent = note;
  status.classList.toggle("cv-failed", Boolean(failed));
}

export function setView(app, view) {
  app.state.view = app.state.image ? bounded(view, app.state, app.state.screen) : view;
  app.find("[data-zoom]").textContent = text.zoom(Math.round(100 * app.state.view.scale));
  app.draw();
}

function resize(app) {
  const { canvas, state } = app;
  const frame = canvas.parentElement.getBoundingClientRect();
  const screen = { width: Math.max(1, frame.width), height: Math.max(1, frame.height) };
  if (screen.width === state.screen.width && screen.height === state.screen.height && canvas.width > 1) return;
  const wasFit = !state.image || state.view.scale === fit(state, state.screen).scale;
  state.screen = screen;
  const dots = Math.min(window.devicePixelRatio || 1, 2);
  canvas.width = Math.round(screen.width * dots);
  canvas.height = Math.round(screen.height * dots);
  if (state.image) app.setView(wasFit ? fit(state, screen) : state.view);
}

const shown = ({ objects, hidden, removed, filter, thresholds }) =>
  visible(objects, { hidden: new Set([...hidden, ...removed]), label: filter, thresholds });

function requestDraw(app) {
  if (app.drawing) return;
  app.drawing = requestAnimationFrame(() => {
    app.drawing = null;
    draw(app);
  });
}

function draw({ canvas, root, state }) {
  const context = canvas.getContext("2d");
  const dots = canvas.width / state.screen.width;
  context.setTransform(dots, 0, 0, dots, 0, 0);
  context.clearRect(0, 0, state.screen.width, state.screen.height);
  if (!state.image) return;
  const { view } = state;
  context.imageSmoothingEnabled = view.scale < 4;
  context.drawImage(state.image, view.x, view.y, state.width * view.scale, state.height * view.scale);
  context.imageSmoothingEnabled = true;
  drawObjects(context, state);
  const rejected = state.rejected.find((each) => each.key === state.pointed);
  if (rejected) drawRejected(context, rejected, view);
  const mask = state.masks[state.hovered ?? state.choice];
  if (mask) paintMask(context, mask, ACCENT, 0.5, state, view);
  for (const prompt of state.prompts) drawPrompt(context, prompt, view, prompt === state.selectedPrompt);
  if (state.drag?.shape) drawPrompt(context, state.drag.shape, view, true);
  if (state.corner && state.crosshair) drawPrompt(context, { kind: "box", xyxy: [...state.corner, ...state.crosshair] }, view, true);
  if (state.crosshair) drawCrosshair(context, state.crosshair, view);
  const brush = brushAt(state);
  if (brush) drawCircle(context, brush, state.radius);
  root.dataset.corners = String(state.polygon ? state.polygon.rings.flat().length : 0);
  root.dataset.view = [view.scale, view.x, view.y].join(" ");
}

function drawObjects(context, state) {
  const objects = shown(state);
  for (const each of objects) paintMask(context, each, each.color, state.opacity, state, state.view);
  const placed = [];
  for (const each of objects) {
    const marked = each.key === state.selected || each.key === state.highlighted;
    const box = state.drag?.box && each.key === state.selected ? state.drag.box : each.box;
    if (state.polygon?.key === each.key) drawPolygon(context, state.polygon, state.view, each.color);
    else if (marked || !each.mask) drawBox(context, box, state.view, each.color, each.key === state.selected);
    drawName(context, each, state.view, marked, placed);
  }
}
