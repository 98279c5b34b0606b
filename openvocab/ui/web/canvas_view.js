// Prompt canvas: drawing and lists of the state in canvas.js. User text is written with textContent only.

// --- masks and objects

function showMasks(masks) {
  state.tints = Object.fromEntries(Object.entries(state.tints).filter(([key]) => !key.startsWith("mask")));
  const scores = masks.map((mask) => mask.score);
  state.choice = Math.max(0, scores.indexOf(Math.max(...scores)));
  find('[data-hint="masks"]').hidden = masks.length > 0;
  if (!masks.length) { state.masks = []; listChoices(); return draw(); }
  const prompts = state.prompts;
  Promise.all(masks.map((mask) => load(mask.png))).then((images) => {
    if (state.prompts !== prompts) return; // the prompts changed meanwhile
    state.masks = masks.map((mask, row) => ({ ...mask, image: images[row] }));
    listChoices();
    choose(state.choice);
    root.dataset.shown = String(Number(root.dataset.shown || 0) + 1);
  });
}

function showInstances(instances) {
  const known = Object.fromEntries(state.instances.map((instance) => [instance.number, instance]));
  Promise.all(instances.map((instance) => (known[instance.number] ? known[instance.number].image : load(instance.png)))).then((images) => {
    state.instances = instances.map((instance, row) => ({ ...instance, image: images[row] }));
    if (!state.instances.some((instance) => instance.number === state.selectedInstance)) state.selectedInstance = null;
    listInstances();
    draw();
  });
}

function createNode(tag, attributes, text) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function listChoices() {
  const nodes = state.masks.map((mask, row) => {
    const button = createNode("button", { type: "button", role: "radio", "aria-checked": row === state.choice, "aria-label": "Mask " + (row + 1) + ", score " + mask.score.toFixed(2) });
    button.append(thumbnail(mask), createNode("span", {}, row + 1 + " \u00b7 " + mask.score.toFixed(2)));
    button.addEventListener("click", () => choose(row));
    return button;
  });
  find(".cv-choices").replaceChildren(...nodes);
}

function thumbnail(mask) {
  const small = createNode("canvas", { width: 144, height: 108, "aria-hidden": "true" });
  const sheet = small.getContext("2d");
  const boxes = state.masks.map((each) => each.box).filter(Boolean);
  const low = [0, 1].map((axis) => Math.min(...boxes.map((box) => box[axis]), [state.width, state.height][axis] - 1));
  const high = [2, 3].map((axis) => Math.max(...boxes.map((box) => box[axis]), 1));
  const pixelsPerDot = 1.15 * Math.max((high[0] - low[0]) / 144, (high[1] - low[1]) / 108);
  const scale = 1 / Math.max(pixelsPerDot, 1e-6);
  sheet.translate(72 - (scale * (low[0] + high[0])) / 2, 54 - (scale * (low[1] + high[1])) / 2);
  sheet.scale(scale, scale);
  for (const image of [state.image, tintedMask("mask" + state.masks.indexOf(mask), mask.image, ACCENT, 0.5, "#ffffff")]) {
    if (image) sheet.drawImage(image, 0, 0, state.width, state.height);
  }
  return small;
}

function listInstances() {
  const nodes = state.instances.map((instance) => {
    const row = createNode("li", { "data-number": instance.number, class: instance.number === state.selectedInstance ? "cv-selected" : "" });
    const chip = createNode("span", { class: "cv-chip", "aria-hidden": "true" });
    chip.style.background = instance.color;
    const name = createNode("input", { type: "text", "aria-label": "Name of object " + instance.number, maxlength: 200, autocomplete: "off" });
    name.value = instance.name;
    if (names.id) name.setAttribute("list", names.id);
    name.addEventListener("focus", () => selectInstance(instance.number));
    name.addEventListener("change", () => send({ do: "rename", number: instance.number, name: name.value }));
    name.addEventListener("keydown", (event) => event.key === "Enter" && name.blur());
    const deleteButton = createNode("button", { type: "button", class: "cv-delete", "aria-label": "Delete " + instance.name, title: "Delete" }, "\u00d7");
    deleteButton.addEventListener("click", () => removeInstance(instance.number));
    row.addEventListener("click", () => selectInstance(instance.number));
    row.append(chip, name, createNode("span", { class: "cv-score" }, instance.score.toFixed(2)), deleteButton);
    return row;
  });
  find(".cv-objects").replaceChildren(...nodes);
  find(".cv-count").textContent = nodes.length ? String(nodes.length) : "";
  find('[data-hint="objects"]').hidden = nodes.length > 0;
  names.replaceChildren(...[...new Set(state.instances.map((instance) => instance.name))].map((name) => createNode("option", { value: name })));
}

function selectInstance(number) {
  if (state.selectedInstance === number) return;
  state.selectedInstance = number;
  all(".cv-objects li").forEach((row) => row.classList.toggle("cv-selected", row.dataset.number === String(number)));
  draw();
}

// --- drawing

// A mask (opaque on the object, transparent elsewhere) filled with a color, with an opaque outline.
function tintedMask(key, image, color, alpha, outline) {
  if (!image) return null;
  if (state.tints[key] && state.tints[key].color === color) return state.tints[key].sheet;
  const grow = Math.max(1, Math.min(3, Math.ceil(640 / Math.max(image.width, image.height, 1))));
  const sheet = createNode("canvas", { width: image.width * grow, height: image.height * grow });
  const edge = createNode("canvas", { width: sheet.width, height: sheet.height });
  const offset = Math.max(1, Math.max(sheet.width, sheet.height) / 400);
  const ring = edge.getContext("2d");
  for (let turn = 0; turn < 12; turn++) {
    ring.drawImage(image, offset * Math.cos(turn / 1.91), offset * Math.sin(turn / 1.91), edge.width, edge.height);
  }
  ring.globalCompositeOperation = "destination-out";
  ring.drawImage(image, 0, 0, edge.width, edge.height);
  ring.globalCompositeOperation = "source-in";
  ring.fillStyle = outline || color;
  ring.fillRect(0, 0, edge.width, edge.height);
  const paint = sheet.getContext("2d");
  paint.drawImage(image, 0, 0, sheet.width, sheet.height);
  paint.globalCompositeOperation = "source-in";
  paint.globalAlpha = alpha;
  paint.fillStyle = color;
  paint.fillRect(0, 0, sheet.width, sheet.height);
  paint.globalCompositeOperation = "source-over";
  paint.globalAlpha = 1;
  paint.drawImage(edge, 0, 0);
  state.tints[key] = { color, sheet };
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
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (!state.image) return;
  const scale = canvas.width / state.width;
  const unit = canvas.width / Math.max(1, canvas.getBoundingClientRect().width); // one screen pixel
  context.imageSmoothingEnabled = true;
  context.drawImage(state.image, 0, 0, canvas.width, canvas.height);
  for (const instance of state.instances) drawInstance(instance);
  const mask = state.masks[state.choice];
  if (mask) context.drawImage(tintedMask("mask" + state.choice, mask.image, ACCENT, 0.5, "#ffffff") || canvas, 0, 0, canvas.width, canvas.height);
  for (const instance of state.instances) drawName(instance, scale, unit);
  for (const prompt of state.prompts) drawPrompt(prompt, scale, unit, prompt === state.selectedPrompt);
  if (state.drag && state.drag.moved) drawPrompt(draggedPrompt(state.drag), scale, unit, true);
  if (state.corner && state.crosshair) drawPrompt({ kind: "box", xyxy: [...state.corner, ...state.crosshair] }, scale, unit, true);
  if (state.crosshair) drawCrosshair(scale, unit);
}

function draggedPrompt(drag) {
  if (state.tool === "stroke" || !drag.primary) return { kind: "stroke", path: drag.path, inside: drag.inside };
  return { kind: "box", xyxy: [...drag.from, ...drag.to] };
}

function drawInstance(instance) {
  const sheet = tintedMask("instance" + instance.number, instance.image, instance.color, 0.4);
  if (sheet) context.drawImage(sheet, 0, 0, canvas.width, canvas.height);
}

// Black or white, whichever has more contrast with a color such as "#0072B2".
function textColorOn(color) {
  const [red, green, blue] = [1, 3, 5].map((at) => (parseInt(color.slice(at, at + 2), 16) / 255) ** 2.2);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 ? "#000000" : "#ffffff";
}

function drawName(instance, scale, unit) {
  const size = 13 * unit;
  context.font = (instance.number === state.selectedInstance ? "700 " : "600 ") + size + "px system-ui, sans-serif";
  let text = instance.name;
  while (text.length > 1 && context.measureText(text + "\u2026").width > canvas.width / 2) text = text.slice(0, -1);
  if (text !== instance.name) text += "\u2026";
  const width = context.measureText(text).width + size;
  const height = size * 1.6;
  const left = clamp(instance.box[0] * scale, Math.max(0, canvas.width - width));
  const top = instance.box[1] * scale >= height ? instance.box[1] * scale - height : instance.box[1] * scale;
  if (instance.number === state.selectedInstance) {
    context.lineWidth = 3 * unit;
    context.strokeStyle = instance.color;
    context.strokeRect(instance.box[0] * scale, instance.box[1] * scale, (instance.box[2] - instance.box[0]) * scale, (instance.box[3] - instance.box[1]) * scale);
  }
  context.fillStyle = instance.color;
  context.beginPath();
  context.roundRect(left, top, width, height, 4 * unit);
  context.fill();
  context.fillStyle = textColorOn(instance.color);
  context.textBaseline = "middle";
  context.fillText(text, left + size / 2, top + height / 2);
}

// A light line over a wider dark one is visible on any background.
function strokeOutlined(unit, color, width, path) {
  for (const [lineWidth, style] of [[width + 2, "rgba(0, 0, 0, 0.65)"], [width, color]]) {
    context.lineWidth = lineWidth * unit;
    context.strokeStyle = style;
    context.beginPath();
    path();
    context.stroke();
  }
}

function drawPrompt(prompt, scale, unit, selected) {
  const color = prompt.kind === "box" || prompt.inside ? "#ffffff" : "#ff8a65";
  context.lineCap = context.lineJoin = "round";
  if (prompt.kind === "box") {
    const [left, top, right, bottom] = prompt.xyxy.map((each) => each * scale);
    return strokeOutlined(unit, color, selected ? 3 : 2, () => context.rect(left, top, right - left, bottom - top));
  }
  if (prompt.kind === "stroke") {
    return strokeOutlined(unit, color, selected ? 5 : 4, () => prompt.path.forEach(([x, y]) => context.lineTo(x * scale, y * scale)));
  }
  const [x, y] = prompt.at.map((each) => each * scale);
  const radius = (selected ? 8 : 6.5) * unit;
  context.beginPath();
  context.arc(x, y, radius, 0, 7);
  context.fillStyle = prompt.inside ? "#1b5e20" : "#b71c1c";
  context.fill();
  strokeOutlined(unit, color, 1.5, () => context.arc(x, y, radius, 0, 7));
  context.lineWidth = 2 * unit;
  context.strokeStyle = "#ffffff";
  context.beginPath();
  context.moveTo(x - radius / 2, y);
  context.lineTo(x + radius / 2, y);
  if (prompt.inside) { context.moveTo(x, y - radius / 2); context.lineTo(x, y + radius / 2); }
  context.stroke();
}

function drawCrosshair(scale, unit) {
  const [x, y] = state.crosshair.map((each) => each * scale);
  const arm = 14 * unit;
  strokeOutlined(unit, "#ffffff", 2, () => {
    for (const [a, b] of [[-1, 0], [1, 0], [0, -1], [0, 1]]) {
      context.moveTo(x + (a * arm) / 4, y + (b * arm) / 4);
      context.lineTo(x + a * arm, y + b * arm);
    }
  });
}

// --- setup

const names = createNode("datalist", { id: "cv-names-" + Math.random().toString(36).slice(2) });
root.append(names);
nameBox.setAttribute("list", names.id);
all("[data-tool]").forEach((button) => button.addEventListener("click", () => setTool(button.dataset.tool)));
all("[data-inside]").forEach((button) => button.addEventListener("click", () => setInside(button.dataset.inside === "yes")));
all("[data-do]").forEach((button) => button.addEventListener("click", () => state.image && actions[button.dataset.do]()));
nameBox.addEventListener("focus", () => nameBox.select());
canvas.addEventListener("pointerdown", onPointerDown);
canvas.addEventListener("pointermove", onPointerMove);
canvas.addEventListener("pointerup", onPointerUp);
canvas.addEventListener("pointercancel", () => { state.drag = null; draw(); });
canvas.addEventListener("contextmenu", (event) => event.preventDefault());
root.addEventListener("keydown", onKeyDown);
root.addEventListener("cv-busy", () => onAnswer({ serial: queue.serial, failed: true, note: "The server is busy; try again in a moment." }));
new ResizeObserver(resize).observe(find(".cv-stage"));
watch("value", receive);
receive();
