// Prompt canvas: state, requests and input. Runs once as a function of element, trigger, props and watch (gr.HTML).
// All coordinates are pixels of the original image. One request is sent at a time: see send.

const find = (query) => element.querySelector(query);
const all = (query) => [...element.querySelectorAll(query)];
const root = find(".cv");
const canvas = find("canvas");
const context = canvas.getContext("2d");
const nameBox = find("[data-name]");

const CLICK_TOLERANCE = 5; // screen pixels that a click may move
const HIT_RADIUS = 10; // screen pixels around a prompt that select it
const TIMEOUT = 60000; // milliseconds until a request times out
const ACCENT = "#2f6fed";

const state = {
  opens: "", // random ID of the opened image
  image: null, // an Image, possibly downscaled
  width: 0,
  height: 0,
  prompts: [], // {kind: "point", at, inside}, {kind: "stroke", path, inside}, {kind: "box", xyxy}
  history: [], // prompts before each change
  masks: [], // {image, score, box}
  choice: 0, // index of the selected mask
  instances: [], // {number, name, score, color, box, image}
  tool: "point",
  inside: true,
  selectedPrompt: null,
  selectedInstance: null, // its number
  crosshair: null, // keyboard crosshair, [x, y]
  corner: null, // first corner of a keyboard box
  drag: null, // the pointer drag in progress
  tints: {}, // cache of tinted masks
};

// --- requests

const queue = { waiting: [], serial: 0, busy: null };

function send(action) {
  if (action.do === "segment") queue.waiting = queue.waiting.filter((each) => each.do !== "segment");
  queue.waiting.push(action);
  sendNext();
}

function sendNext() {
  if (queue.busy || !queue.waiting.length) return;
  const serial = ++queue.serial;
  queue.busy = setTimeout(() => onAnswer({ serial, failed: true, note: "The server did not answer; try again." }), TIMEOUT);
  root.dataset.busy = "yes";
  trigger("act", { ...queue.waiting.shift(), serial });
}

function onAnswer(message) {
  if (message.serial !== queue.serial || !queue.busy) return;
  clearTimeout(queue.busy);
  queue.busy = null;
  delete root.dataset.busy;
  if (message.masks && state.prompts.length) showMasks(message.masks);
  if (message.instances) showInstances(message.instances);
  if (message.added) clearPrompts();
  if (message.note) setStatus(message.note, message.failed);
  sendNext();
}

function onOpened(message) {
  clearTimeout(queue.busy);
  Object.assign(queue, { waiting: [], busy: null, serial: 0 });
  delete root.dataset.busy;
  delete root.dataset.drawn;
  const { opens, width, height } = message;
  Object.assign(state, { opens, width, height, image: null, crosshair: null, selectedInstance: null, tints: {} });
  clearPrompts();
  showInstances(message.instances || []);
  root.dataset.empty = message.image ? "no" : "yes";
  setStatus(message.note || "", message.failed);
  if (!message.image) return void draw();
  load(message.image).then((image) => {
    if (state.opens !== message.opens) return; // another image was opened meanwhile
    state.image = image;
    resize();
    root.dataset.drawn = "yes";
  });
}

function receive() {
  const message = props.value || {};
  if (message.opens) onOpened(message);
  else if (message.serial) onAnswer(message);
}

function setStatus(text, failed) {
  const status = find(".cv-status");
  status.textContent = text;
  status.classList.toggle("cv-failed", Boolean(failed));
}

function load(source) {
  return new Promise((resolve) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => resolve(null);
    image.src = source;
  });
}

// --- prompts

function changePrompts(prompts) {
  state.history.push(state.prompts);
  setPrompts(prompts);
}

function setPrompts(prompts) {
  state.prompts = prompts;
  if (!prompts.includes(state.selectedPrompt)) state.selectedPrompt = prompts.length ? prompts[prompts.length - 1] : null;
  if (prompts.length) send({ do: "segment", prompts });
  else showMasks([]);
  draw();
}

function add(prompt) {
  state.selectedInstance = null;
  state.selectedPrompt = prompt;
  const kept = prompt.kind === "box" ? state.prompts.filter((each) => each.kind !== "box") : state.prompts;
  changePrompts([...kept, prompt]);
  listInstances();
}

function clearPrompts() {
  queue.waiting = queue.waiting.filter((each) => each.do !== "segment");
  Object.assign(state, { prompts: [], history: [], selectedPrompt: null, drag: null, corner: null });
  showMasks([]);
}

function undo() {
  if (state.history.length) return setPrompts(state.history.pop());
  send({ do: "undo" });
}

function removeSelected() {
  if (state.selectedInstance !== null) return removeInstance(state.selectedInstance);
  if (state.selectedPrompt === null) return setStatus("Nothing is selected: click a prompt, or an object in the list.");
  changePrompts(state.prompts.filter((each) => each !== state.selectedPrompt));
}

function removeInstance(number) {
  state.selectedInstance = null;
  send({ do: "remove", number });
}

function accept() {
  if (!state.prompts.length) return setStatus("Prompt an object first: click it, or drag a box around it.");
  send({ do: "accept", prompts: state.prompts, choice: state.choice, name: nameBox.value });
}

function choose(row) {
  if (row >= state.masks.length) return;
  state.choice = row;
  all(".cv-choices button").forEach((button, each) => button.setAttribute("aria-checked", each === row));
  setStatus("Mask " + (row + 1) + " of " + state.masks.length + ", score " + state.masks[row].score.toFixed(2) + ".");
  draw();
}

function setTool(tool) {
  state.tool = tool;
  all("[data-tool]").forEach((button) => button.setAttribute("aria-checked", button.dataset.tool === tool));
}

function setInside(inside) {
  state.inside = inside;
  all("[data-inside]").forEach((button) => button.setAttribute("aria-checked", (button.dataset.inside === "yes") === inside));
}

const actions = {
  undo,
  remove: removeSelected,
  accept,
  next: () => { clearPrompts(); state.selectedInstance = null; listInstances(); setStatus("Click the next object."); draw(); canvas.focus({ preventScroll: true }); },
};

// --- the pointer

const clamp = (value, max) => Math.min(Math.max(value, 0), max);

function pointerPosition(event) {
  const frame = canvas.getBoundingClientRect();
  const x = ((event.clientX - frame.left) / frame.width) * state.width;
  const y = ((event.clientY - frame.top) / frame.height) * state.height;
  return [clamp(x, state.width), clamp(y, state.height)];
}

const screenScale = () => canvas.getBoundingClientRect().width / (state.width || 1); // screen pixels per image pixel
const distance = (one, other) => Math.hypot(one[0] - other[0], one[1] - other[1]) * screenScale();

function promptAt(position) {
  const corners = (prompt) => (prompt.kind === "point" ? [prompt.at] : prompt.kind === "stroke" ? prompt.path : [prompt.xyxy.slice(0, 2), prompt.xyxy.slice(2)]);
  return [...state.prompts].reverse().find((prompt) => corners(prompt).some((each) => distance(each, position) < HIT_RADIUS));
}

function onPointerDown(event) {
  if (!state.image || event.button === 1 || state.drag) return;
  event.preventDefault();
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  const from = pointerPosition(event);
  const inverted = event.button === 2 || event.shiftKey;
  state.crosshair = null;
  state.drag = { from, to: from, path: [from], inside: state.inside !== inverted, primary: event.button === 0, moved: false };
}

function onPointerMove(event) {
  const drag = state.drag;
  if (!drag) return;
  drag.to = pointerPosition(event);
  drag.moved = drag.moved || distance(drag.from, drag.to) > CLICK_TOLERANCE;
  if (distance(drag.path[drag.path.length - 1], drag.to) > 3 && drag.path.length < 2000) drag.path.push(drag.to);
  draw();
}

function onPointerUp(event) {
  const drag = state.drag;
  if (!drag) return;
  onPointerMove(event);
  state.drag = null;
  finish(drag);
  draw();
}

function finish(drag) {
  if (state.tool === "stroke" && drag.moved) return add({ kind: "stroke", path: drag.path, inside: drag.inside });
  if (drag.moved && drag.primary) return addBox(drag.from, drag.to);
  const existing = promptAt(drag.from);
  if (existing) { state.selectedPrompt = existing; state.selectedInstance = null; return listInstances(); }
  if (state.tool === "box") return setStatus("Drag from one corner of the object to the other.");
  add({ kind: "point", at: drag.from, inside: drag.inside });
}

function addBox(from, to) {
  const [left, right] = [from[0], to[0]].sort((a, b) => a - b);
  const [top, bottom] = [from[1], to[1]].sort((a, b) => a - b);
  if (right > left && bottom > top) add({ kind: "box", xyxy: [left, top, right, bottom] });
}

// --- the keyboard

function moveCrosshair(event) {
  const step = event.shiftKey ? 1 : Math.max(1, 8 / screenScale());
  const [x, y] = state.crosshair || [state.width / 2, state.height / 2];
  const delta = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
  state.crosshair = state.crosshair ? [clamp(x + delta[0], state.width), clamp(y + delta[1], state.height)] : [x, y];
  setStatus("Crosshair at " + Math.round(state.crosshair[0]) + ", " + Math.round(state.crosshair[1]) + ".");
  draw();
}

function setBoxCorner() {
  if (!state.crosshair) return setStatus("Move the crosshair to a corner with the arrow keys, then press B.");
  if (!state.corner) { state.corner = state.crosshair; setStatus("Move to the opposite corner and press B again."); return draw(); }
  const from = state.corner;
  state.corner = null;
  addBox(from, state.crosshair);
  draw();
}

const keys = {
  u: undo,
  delete: removeSelected,
  backspace: removeSelected,
  n: () => actions.next(),
  x: () => { setInside(!state.inside); setStatus(state.inside ? "Prompts mark the object." : "Prompts mark the background."); },
  b: setBoxCorner,
  1: () => choose(0),
  2: () => choose(1),
  3: () => choose(2),
  escape: () => { Object.assign(state, { drag: null, corner: null, selectedPrompt: null, selectedInstance: null }); listInstances(); draw(); },
};

function onCanvasKey(event) {
  if (event.key.startsWith("Arrow")) return moveCrosshair(event);
  if (event.key === "Enter") return accept();
  if (!state.crosshair) return setStatus("Move the crosshair with the arrow keys, then press space.");
  add({ kind: "point", at: [...state.crosshair], inside: state.inside !== event.shiftKey });
}

function onKeyDown(event) {
  const typing = event.target.tagName === "INPUT";
  const key = event.key.toLowerCase();
  if (typing && event.target === nameBox && event.key === "Enter") { event.preventDefault(); return accept(); }
  if (typing || !state.image || event.altKey) return;
  const isUndo = key === "z" && (event.ctrlKey || event.metaKey);
  if ((event.ctrlKey || event.metaKey) && !isUndo) return;
  const isCanvasKey = event.target === canvas && (event.key.startsWith("Arrow") || event.key === "Enter" || event.key === " ");
  const action = isUndo ? undo : isCanvasKey ? () => onCanvasKey(event) : keys[key];
  if (!action) return;
  event.preventDefault();
  event.stopPropagation();
  action();
}
