// What canvas.js holds, drawn and listed. Text of people goes through textContent alone.

// --- masks and objects

function showMasks(masks) {
  state.ink = Object.fromEntries(Object.entries(state.ink).filter(([key]) => !key.startsWith("mask")));
  const scores = masks.map((mask) => mask.score);
  state.choice = Math.max(0, scores.indexOf(Math.max(...scores)));
  find('[data-hint="masks"]').hidden = masks.length > 0;
  if (!masks.length) { state.masks = []; listChoices(); return draw(); }
  const marks = state.marks;
  Promise.all(masks.map((mask) => load(mask.png))).then((images) => {
    if (state.marks !== marks) return; // cleared, or asked anew
    state.masks = masks.map((mask, row) => ({ ...mask, image: images[row] }));
    listChoices();
    choose(state.choice);
    root.dataset.shown = String(Number(root.dataset.shown || 0) + 1);
  });
}

function showThings(things) {
  const known = Object.fromEntries(state.things.map((thing) => [thing.number, thing]));
  Promise.all(things.map((thing) => (known[thing.number] ? known[thing.number].image : load(thing.png)))).then((images) => {
    state.things = things.map((thing, row) => ({ ...thing, image: images[row] }));
    if (!state.things.some((thing) => thing.number === state.thing)) state.thing = null;
    listThings();
    draw();
  });
}

function made(tag, attributes, text) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function listChoices() {
  const nodes = state.masks.map((mask, row) => {
    const button = made("button", { type: "button", role: "radio", "aria-checked": row === state.choice, "aria-label": "Mask " + (row + 1) + ", score " + mask.score.toFixed(2) });
    button.append(thumbnail(mask), made("span", {}, row + 1 + " \u00b7 " + mask.score.toFixed(2)));
    button.addEventListener("click", () => choose(row));
    return button;
  });
  find(".cv-choices").replaceChildren(...nodes);
}

function thumbnail(mask) {
  const small = made("canvas", { width: 144, height: 108, "aria-hidden": "true" });
  const sheet = small.getContext("2d");
  const boxes = state.masks.map((each) => each.box).filter(Boolean);
  const low = [0, 1].map((axis) => Math.min(...boxes.map((box) => box[axis]), [state.width, state.height][axis] - 1));
  const high = [2, 3].map((axis) => Math.max(...boxes.map((box) => box[axis]), 1));
  const room = 1.15 * Math.max((high[0] - low[0]) / 144, (high[1] - low[1]) / 108);
  const scale = 1 / Math.max(room, 1e-6);
  sheet.translate(72 - (scale * (low[0] + high[0])) / 2, 54 - (scale * (low[1] + high[1])) / 2);
  sheet.scale(scale, scale);
  for (const image of [state.image, tinted("mask" + state.masks.indexOf(mask), mask.image, ACCENT, 0.5, "#ffffff")]) {
    if (image) sheet.drawImage(image, 0, 0, state.width, state.height);
  }
  return small;
}

function listThings() {
  const nodes = state.things.map((thing) => {
    const row = made("li", { "data-number": thing.number, class: thing.number === state.thing ? "cv-picked" : "" });
    const chip = made("span", { class: "cv-chip", "aria-hidden": "true" });
    chip.style.background = thing.color;
    const name = made("input", { type: "text", "aria-label": "Name of object " + thing.number, maxlength: 200, autocomplete: "off" });
    name.value = thing.name;
    if (names.id) name.setAttribute("list", names.id);
    name.addEventListener("focus", () => pick(thing.number));
    name.addEventListener("change", () => send({ do: "rename", number: thing.number, name: name.value }));
    name.addEventListener("keydown", (event) => event.key === "Enter" && name.blur());
    const away = made("button", { type: "button", class: "cv-away", "aria-label": "Delete " + thing.name, title: "Delete" }, "\u00d7");
    away.addEventListener("click", () => removeThing(thing.number));
    row.addEventListener("click", () => pick(thing.number));
    row.append(chip, name, made("span", { class: "cv-score" }, thing.score.toFixed(2)), away);
    return row;
  });
  find(".cv-things").replaceChildren(...nodes);
  find(".cv-count").textContent = nodes.length ? String(nodes.length) : "";
  find('[data-hint="things"]').hidden = nodes.length > 0;
  names.replaceChildren(...[...new Set(state.things.map((thing) => thing.name))].map((name) => made("option", { value: name })));
}

function pick(number) {
  if (state.thing === number) return;
  state.thing = number;
  all(".cv-things li").forEach((row) => row.classList.toggle("cv-picked", row.dataset.number === String(number)));
  draw();
}

// --- drawing

// A mask (white where the thing is, else clear) in a color, with a firm edge.
function tinted(key, image, color, strength, rim) {
  if (!image) return null;
  if (state.ink[key] && state.ink[key].color === color) return state.ink[key].sheet;
  const grow = Math.max(1, Math.min(3, Math.ceil(640 / Math.max(image.width, image.height, 1))));
  const sheet = made("canvas", { width: image.width * grow, height: image.height * grow });
  const edge = made("canvas", { width: sheet.width, height: sheet.height });
  const wide = Math.max(1, Math.max(sheet.width, sheet.height) / 400);
  const ring = edge.getContext("2d");
  for (let turn = 0; turn < 12; turn++) {
    ring.drawImage(image, wide * Math.cos(turn / 1.91), wide * Math.sin(turn / 1.91), edge.width, edge.height);
  }
  ring.globalCompositeOperation = "destination-out";
  ring.drawImage(image, 0, 0, edge.width, edge.height);
  ring.globalCompositeOperation = "source-in";
  ring.fillStyle = rim || color;
  ring.fillRect(0, 0, edge.width, edge.height);
  const paint = sheet.getContext("2d");
  paint.drawImage(image, 0, 0, sheet.width, sheet.height);
  paint.globalCompositeOperation = "source-in";
  paint.globalAlpha = strength;
  paint.fillStyle = color;
  paint.fillRect(0, 0, sheet.width, sheet.height);
  paint.globalCompositeOperation = "source-over";
  paint.globalAlpha = 1;
  paint.drawImage(edge, 0, 0);
  state.ink[key] = { color, sheet };
  return sheet;
}

function resize() {
  if (!state.width) return;
  canvas.style.aspectRatio = state.width + " / " + state.height;
  canvas.style.maxWidth = "calc(70vh * " + state.width / state.height + ")";
  const frame = canvas.getBoundingClientRect();
  const dots = Math.min(window.devicePixelRatio || 1, 2);
  canvas.width = Math.max(1, Math.round(frame.width * dots));
  canvas.height = Math.max(1, Math.round(frame.height * dots));
  draw();
}

function draw() {
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  if (!state.image) return;
  const scale = canvas.width / state.width;
  const unit = canvas.width / Math.max(1, canvas.getBoundingClientRect().width); // one pixel of the screen
  pen.imageSmoothingEnabled = true;
  pen.drawImage(state.image, 0, 0, canvas.width, canvas.height);
  for (const thing of state.things) drawThing(thing);
  const mask = state.masks[state.choice];
  if (mask) pen.drawImage(tinted("mask" + state.choice, mask.image, ACCENT, 0.5, "#ffffff") || canvas, 0, 0, canvas.width, canvas.height);
  for (const thing of state.things) drawName(thing, scale, unit);
  for (const mark of state.marks) drawMark(mark, scale, unit, mark === state.mark);
  if (state.drag && state.drag.far) drawMark(underWay(state.drag), scale, unit, true);
  if (state.corner && state.cross) drawMark({ kind: "box", xyxy: [...state.corner, ...state.cross] }, scale, unit, true);
  if (state.cross) drawCross(scale, unit);
}

function underWay(drag) {
  if (state.tool === "stroke" || !drag.plain) return { kind: "stroke", path: drag.path, inside: drag.inside };
  return { kind: "box", xyxy: [...drag.from, ...drag.to] };
}

function drawThing(thing) {
  const sheet = tinted("thing" + thing.number, thing.image, thing.color, 0.4);
  if (sheet) pen.drawImage(sheet, 0, 0, canvas.width, canvas.height);
}

// Black or white, whichever stands out more from a color such as "#0072B2".
function inkOn(color) {
  const [red, green, blue] = [1, 3, 5].map((at) => (parseInt(color.slice(at, at + 2), 16) / 255) ** 2.2);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 ? "#000000" : "#ffffff";
}

function drawName(thing, scale, unit) {
  const size = 13 * unit;
  pen.font = (thing.number === state.thing ? "700 " : "600 ") + size + "px system-ui, sans-serif";
  let text = thing.name;
  while (text.length > 1 && pen.measureText(text + "\u2026").width > canvas.width / 2) text = text.slice(0, -1);
  if (text !== thing.name) text += "\u2026";
  const wide = pen.measureText(text).width + size;
  const high = size * 1.6;
  const left = held(thing.box[0] * scale, Math.max(0, canvas.width - wide));
  const top = thing.box[1] * scale >= high ? thing.box[1] * scale - high : thing.box[1] * scale;
  if (thing.number === state.thing) {
    pen.lineWidth = 3 * unit;
    pen.strokeStyle = thing.color;
    pen.strokeRect(thing.box[0] * scale, thing.box[1] * scale, (thing.box[2] - thing.box[0]) * scale, (thing.box[3] - thing.box[1]) * scale);
  }
  pen.fillStyle = thing.color;
  pen.beginPath();
  pen.roundRect(left, top, wide, high, 4 * unit);
  pen.fill();
  pen.fillStyle = inkOn(thing.color);
  pen.textBaseline = "middle";
  pen.fillText(text, left + size / 2, top + high / 2);
}

// Each line is drawn twice, dark under light, so that it is seen on any ground.
function twice(unit, color, wide, path) {
  for (const [width, style] of [[wide + 2, "rgba(0, 0, 0, 0.65)"], [wide, color]]) {
    pen.lineWidth = width * unit;
    pen.strokeStyle = style;
    pen.beginPath();
    path();
    pen.stroke();
  }
}

function drawMark(mark, scale, unit, picked) {
  const color = mark.kind === "box" || mark.inside ? "#ffffff" : "#ff8a65";
  pen.lineCap = pen.lineJoin = "round";
  if (mark.kind === "box") {
    const [left, top, right, bottom] = mark.xyxy.map((each) => each * scale);
    return twice(unit, color, picked ? 3 : 2, () => pen.rect(left, top, right - left, bottom - top));
  }
  if (mark.kind === "stroke") {
    return twice(unit, color, picked ? 5 : 4, () => mark.path.forEach(([x, y]) => pen.lineTo(x * scale, y * scale)));
  }
  const [x, y] = mark.at.map((each) => each * scale);
  const far = (picked ? 8 : 6.5) * unit;
  pen.beginPath();
  pen.arc(x, y, far, 0, 7);
  pen.fillStyle = mark.inside ? "#1b5e20" : "#b71c1c";
  pen.fill();
  twice(unit, color, 1.5, () => pen.arc(x, y, far, 0, 7));
  pen.lineWidth = 2 * unit;
  pen.strokeStyle = "#ffffff";
  pen.beginPath();
  pen.moveTo(x - far / 2, y);
  pen.lineTo(x + far / 2, y);
  if (mark.inside) { pen.moveTo(x, y - far / 2); pen.lineTo(x, y + far / 2); }
  pen.stroke();
}

function drawCross(scale, unit) {
  const [x, y] = state.cross.map((each) => each * scale);
  const far = 14 * unit;
  twice(unit, "#ffffff", 2, () => {
    for (const [a, b] of [[-1, 0], [1, 0], [0, -1], [0, 1]]) {
      pen.moveTo(x + (a * far) / 4, y + (b * far) / 4);
      pen.lineTo(x + a * far, y + b * far);
    }
  });
}

// --- beginning

const names = made("datalist", { id: "cv-names-" + Math.random().toString(36).slice(2) });
root.append(names);
nameBox.setAttribute("list", names.id);
all("[data-tool]").forEach((button) => button.addEventListener("click", () => setTool(button.dataset.tool)));
all("[data-inside]").forEach((button) => button.addEventListener("click", () => setInside(button.dataset.inside === "yes")));
all("[data-do]").forEach((button) => button.addEventListener("click", () => state.image && deeds[button.dataset.do]()));
nameBox.addEventListener("focus", () => nameBox.select());
canvas.addEventListener("pointerdown", down);
canvas.addEventListener("pointermove", move);
canvas.addEventListener("pointerup", up);
canvas.addEventListener("pointercancel", () => { state.drag = null; draw(); });
canvas.addEventListener("contextmenu", (event) => event.preventDefault());
root.addEventListener("keydown", pressed);
root.addEventListener("cv-lost", () => answered({ serial: line.serial, failed: true, note: "The server is busy; try again in a moment." }));
new ResizeObserver(resize).observe(find(".cv-stage"));
watch("value", receive);
receive();
