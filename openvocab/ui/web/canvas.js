// The image that a person marks. Runs once, as a function of element, trigger, props and watch (gr.HTML).
// All places are kept in pixels of the original image. One request is under way at a time: see send.

const find = (query) => element.querySelector(query);
const all = (query) => [...element.querySelectorAll(query)];
const root = find(".cv");
const canvas = find("canvas");
const pen = canvas.getContext("2d");
const nameBox = find("[data-name]");

const CLICK = 5; // pixels of the screen that a click may wander
const REACH = 10; // pixels of the screen around a mark that select it
const PATIENCE = 60000; // milliseconds until a request counts as lost
const ACCENT = "#2f6fed";

const state = {
  opens: "", // tells one opened image from the next
  image: null, // an Image, perhaps smaller than the original
  width: 0,
  height: 0,
  marks: [], // {kind: "point", at, inside}, {kind: "stroke", path, inside}, {kind: "box", xyxy}
  before: [], // marks before each change
  masks: [], // {image, score, box}
  choice: 0,
  things: [], // {number, name, score, color, box, image}
  tool: "point",
  inside: true,
  mark: null, // the selected mark
  thing: null, // the selected object's number
  cross: null, // the cross-hair of the keyboard
  corner: null, // where a box of the keyboard began
  drag: null, // what the pointer is drawing
  ink: {}, // tinted masks that were drawn before
};

// --- requests

const line = { waiting: [], serial: 0, busy: null };

function send(action) {
  if (action.do === "prompt") line.waiting = line.waiting.filter((each) => each.do !== "prompt");
  line.waiting.push(action);
  pump();
}

function pump() {
  if (line.busy || !line.waiting.length) return;
  const serial = ++line.serial;
  line.busy = setTimeout(() => answered({ serial, failed: true, note: "There was no answer; try again." }), PATIENCE);
  root.dataset.busy = "yes";
  trigger("act", { ...line.waiting.shift(), serial });
}

function answered(message) {
  if (message.serial !== line.serial || !line.busy) return;
  clearTimeout(line.busy);
  line.busy = null;
  delete root.dataset.busy;
  if (message.masks && state.marks.length) showMasks(message.masks);
  if (message.things) showThings(message.things);
  if (message.added) clearMarks();
  if (message.note) say(message.note, message.failed);
  pump();
}

function opened(message) {
  clearTimeout(line.busy);
  Object.assign(line, { waiting: [], busy: null, serial: 0 });
  delete root.dataset.busy;
  delete root.dataset.drawn;
  const { opens, width, height } = message;
  Object.assign(state, { opens, width, height, image: null, cross: null, thing: null, ink: {} });
  clearMarks();
  showThings(message.things || []);
  root.dataset.empty = message.image ? "no" : "yes";
  say(message.note || "", message.failed);
  if (!message.image) return void draw();
  load(message.image).then((image) => {
    if (state.opens !== message.opens) return; // another image came meanwhile
    state.image = image;
    resize();
    root.dataset.drawn = "yes";
  });
}

function receive() {
  const message = props.value || {};
  if (message.opens) opened(message);
  else if (message.serial) answered(message);
}

function say(text, failed) {
  const status = find(".cv-status");
  status.textContent = text;
  status.classList.toggle("cv-failed", Boolean(failed));
}

function load(source) {
  return new Promise((done) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = () => done(null);
    image.src = source;
  });
}

// --- marks

function change(marks) {
  state.before.push(state.marks);
  setMarks(marks);
}

function setMarks(marks) {
  state.marks = marks;
  if (!marks.includes(state.mark)) state.mark = marks.length ? marks[marks.length - 1] : null;
  if (marks.length) send({ do: "prompt", marks });
  else showMasks([]);
  draw();
}

function add(mark) {
  state.thing = null;
  state.mark = mark;
  const kept = mark.kind === "box" ? state.marks.filter((each) => each.kind !== "box") : state.marks;
  change([...kept, mark]);
  listThings();
}

function clearMarks() {
  line.waiting = line.waiting.filter((each) => each.do !== "prompt");
  Object.assign(state, { marks: [], before: [], mark: null, drag: null, corner: null });
  showMasks([]);
}

function undo() {
  if (state.before.length) return setMarks(state.before.pop());
  send({ do: "undo" });
}

function remove() {
  if (state.thing !== null) return removeThing(state.thing);
  if (state.mark === null) return say("Nothing is selected: click a mark, or an object in the list.");
  change(state.marks.filter((each) => each !== state.mark));
}

function removeThing(number) {
  state.thing = null;
  send({ do: "remove", number });
}

function accept() {
  if (!state.marks.length) return say("Mark an object first: click it, or drag a box around it.");
  send({ do: "accept", marks: state.marks, choice: state.choice, name: nameBox.value });
}

function choose(row) {
  if (row >= state.masks.length) return;
  state.choice = row;
  all(".cv-choices button").forEach((button, each) => button.setAttribute("aria-checked", each === row));
  say("Mask " + (row + 1) + " of " + state.masks.length + ", score " + state.masks[row].score.toFixed(2) + ".");
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

const deeds = {
  undo,
  remove,
  accept,
  next: () => { clearMarks(); state.thing = null; listThings(); say("Mark the next object."); draw(); canvas.focus({ preventScroll: true }); },
};

// --- the pointer

const held = (value, most) => Math.min(Math.max(value, 0), most);

function placeOf(event) {
  const frame = canvas.getBoundingClientRect();
  const x = ((event.clientX - frame.left) / frame.width) * state.width;
  const y = ((event.clientY - frame.top) / frame.height) * state.height;
  return [held(x, state.width), held(y, state.height)];
}

const onScreen = () => canvas.getBoundingClientRect().width / (state.width || 1); // pixels of the screen a pixel
const apart = (one, other) => Math.hypot(one[0] - other[0], one[1] - other[1]) * onScreen();

function markAt(place) {
  const near = (mark) => (mark.kind === "point" ? [mark.at] : mark.kind === "stroke" ? mark.path : [mark.xyxy.slice(0, 2), mark.xyxy.slice(2)]);
  return [...state.marks].reverse().find((mark) => near(mark).some((each) => apart(each, place) < REACH));
}

function down(event) {
  if (!state.image || event.button === 1 || state.drag) return;
  event.preventDefault();
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  const from = placeOf(event);
  const turned = event.button === 2 || event.shiftKey;
  state.cross = null;
  state.drag = { from, to: from, path: [from], inside: state.inside !== turned, plain: event.button === 0, far: false };
}

function move(event) {
  const drag = state.drag;
  if (!drag) return;
  drag.to = placeOf(event);
  drag.far = drag.far || apart(drag.from, drag.to) > CLICK;
  if (apart(drag.path[drag.path.length - 1], drag.to) > 3 && drag.path.length < 2000) drag.path.push(drag.to);
  draw();
}

function up(event) {
  const drag = state.drag;
  if (!drag) return;
  move(event);
  state.drag = null;
  finish(drag);
  draw();
}

function finish(drag) {
  if (state.tool === "stroke" && drag.far) return add({ kind: "stroke", path: drag.path, inside: drag.inside });
  if (drag.far && drag.plain) return addBox(drag.from, drag.to);
  const hit = markAt(drag.from);
  if (hit) { state.mark = hit; state.thing = null; return listThings(); }
  if (state.tool === "box") return say("Drag from one corner of the object to the other.");
  add({ kind: "point", at: drag.from, inside: drag.inside });
}

function addBox(from, to) {
  const [left, right] = [from[0], to[0]].sort((a, b) => a - b);
  const [top, bottom] = [from[1], to[1]].sort((a, b) => a - b);
  if (right > left && bottom > top) add({ kind: "box", xyxy: [left, top, right, bottom] });
}

// --- the keyboard

function steer(event) {
  const step = event.shiftKey ? 1 : Math.max(1, 8 / onScreen());
  const [x, y] = state.cross || [state.width / 2, state.height / 2];
  const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
  state.cross = state.cross ? [held(x + by[0], state.width), held(y + by[1], state.height)] : [x, y];
  say("Cross-hair at " + Math.round(state.cross[0]) + ", " + Math.round(state.cross[1]) + ".");
  draw();
}

function corner() {
  if (!state.cross) return say("Move the cross-hair to a corner with the arrow keys, then press B.");
  if (!state.corner) { state.corner = state.cross; say("Move to the opposite corner and press B again."); return draw(); }
  const from = state.corner;
  state.corner = null;
  addBox(from, state.cross);
  draw();
}

const keys = {
  u: undo,
  delete: remove,
  backspace: remove,
  n: () => deeds.next(),
  x: () => { setInside(!state.inside); say(state.inside ? "Marks lie on the object." : "Marks lie on the background."); },
  b: corner,
  1: () => choose(0),
  2: () => choose(1),
  3: () => choose(2),
  escape: () => { Object.assign(state, { drag: null, corner: null, mark: null, thing: null }); listThings(); draw(); },
};

function onCanvas(event) {
  if (event.key.startsWith("Arrow")) return steer(event);
  if (event.key === "Enter") return accept();
  if (!state.cross) return say("Move the cross-hair with the arrow keys, then press space.");
  add({ kind: "point", at: [...state.cross], inside: state.inside !== event.shiftKey });
}

function pressed(event) {
  const typing = event.target.tagName === "INPUT";
  const key = event.key.toLowerCase();
  if (typing && event.target === nameBox && event.key === "Enter") { event.preventDefault(); return accept(); }
  if (typing || !state.image || event.altKey) return;
  const undoing = key === "z" && (event.ctrlKey || event.metaKey);
  if ((event.ctrlKey || event.metaKey) && !undoing) return;
  const drawn = event.target === canvas && (event.key.startsWith("Arrow") || event.key === "Enter" || event.key === " ");
  const deed = undoing ? undo : drawn ? () => onCanvas(event) : keys[key];
  if (!deed) return;
  event.preventDefault();
  event.stopPropagation();
  deed();
}
