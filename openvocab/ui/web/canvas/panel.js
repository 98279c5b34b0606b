// The panel beside the image: candidate masks, labels, objects and tags.

import { clearPrompts, choose } from "./main.js";
import { node, swatch } from "./dom.js";
import { paintMask, ACCENT } from "./draw.js";
import { labelCounts, labelKeys } from "./objects.js";
import { listRejected } from "./rejected.js";
import { text } from "./strings.js";
import { showPolygon } from "./vertices.js";

export function listPanel(app) {
  const focus = focusOf(app);
  listSteps(app);
  listLabels(app);
  listObjects(app);
  listRejected(app);
  listTags(app);
  listPresence(app);
  const { canUndo, canRedo, prompts, edits } = app.state;
  app.find('[data-do="undo"]').setAttribute("aria-disabled", !canUndo && !prompts.length);
  app.find('[data-do="redo"]').setAttribute("aria-disabled", !canRedo);
  app.root.dataset.edits = String(edits || 0);
  focus();
}

// A function that gives the focus back to the field that had it.
function focusOf(app) {
  const active = document.activeElement;
  const list = active?.closest?.(".cv-objects, .cv-rejections");
  const key = active?.closest?.("li")?.dataset.key;
  const kind = active?.dataset?.part;
  if (!list || !key || !app.root.contains(active)) return () => {};
  const row = [...list.children].indexOf(active.closest("li"));
  const caret = active.selectionStart;
  return () => {
    const rows = [...list.children];
    const next = rows.find((each) => each.dataset.key === key) || rows[Math.min(row, rows.length - 1)];
    const target = next ? next.querySelector(`[data-part="${kind}"]`) || next.querySelector("input, button") : app.canvas;
    target.focus({ preventScroll: true });
    if (caret !== undefined && next?.dataset.key === key) target.setSelectionRange(caret, caret);
  };
}

export function listChoices(app) {
  const { state } = app;
  app.find('[data-hint="masks"]').hidden = state.masks.length > 0;
  const hover = (row) => () => { state.hovered = row; app.draw(); };
  app.find(".cv-choices").replaceChildren(...state.masks.map((mask, row) => {
    const score = mask.score.toFixed(2);
    return node("button", {
      type: "button", role: "radio", "aria-checked": String(row === state.choice), "aria-label": text.maskName(row + 1, score),
      tabindex: row === state.choice ? 0 : -1, onclick: () => choose(app, row), onmouseenter: hover(row), onmouseleave: hover(null),
    }, thumbnail(app, mask), node("span", {}, row + 1 + " \u00b7 " + score));
  }));
}

function thumbnail({ state }, mask) {
  const small = node("canvas", { width: 144, height: 108, "aria-hidden": "true" });
  const boxes = state.masks.map((each) => each.box).filter(Boolean);
  const low = [0, 1].map((axis) => Math.min(...boxes.map((box) => box[axis]), [state.width, state.height][axis] - 1));
  const high = [2, 3].map((axis) => Math.max(...boxes.map((box) => box[axis]), 1));
  const scale = 0.87 * Math.min(144 / Math.max(high[0] - low[0], 1), 108 / Math.max(high[1] - low[1], 1));
  const view = { scale, x: 72 - (scale * (low[0] + high[0])) / 2, y: 54 - (scale * (low[1] + high[1])) / 2 };
  const sheet = small.getContext("2d");
  if (state.image) sheet.drawImage(state.image, view.x, view.y, state.width * scale, state.height * scale);
  paintMask(sheet, mask, ACCENT, 0.5, state, view);
  return small;
}

function listSteps(app) {
  app.find(".ov-steps").replaceChildren(...(app.state.steps || []).map((step) =>
    node("li", { class: step.state }, node("span", { class: "dot" }), node("b", {}, step.name), node("span", { class: "time" }, step.time))));
}

export function listLabels(app) {
  const { state } = app;
  const counts = new Map(labelCounts(state.objects).map((each) => [each.label, each]));
  const keys = labelKeys(state.words, state.objects);
  const chips = [...new Set([...keys, ...counts.keys()])].slice(0, 40).map((label) => {
    const known = counts.get(label);
    const key = keys.indexOf(label) + 1;
    return node("button", {
      type: "button", "data-label": label, "aria-pressed": String(state.filter === label), disabled: !known && !state.selected && !state.masks.length,
      title: (state.selected ? text.keyLabel : state.masks.length ? text.addAs : text.filterBy)(label), onclick: () => labelClicked(app, label),
    }, swatch(known?.color), node("span", { class: "cv-word" }, label), node("small", {}, known ? "\u00d7" + known.count : ""),
    ...(key ? [node("kbd", {}, String(key))] : []));
  });
  const words = app.find(".cv-words");
  const focused = words.contains(document.activeElement) ? document.activeElement.dataset.label : null;
  words.replaceChildren(...chips);
  const usable = chips.filter((chip) => !chip.disabled);
  const stop = usable.find((chip) => chip.dataset.label === focused) || usable[0];
  for (const chip of usable) chip.tabIndex = chip === stop ? 0 : -1;
  if (focused !== null) (stop || app.canvas).focus({ preventScroll: true });
  app.find("#cv-names").replaceChildren(...[...new Set([...keys, ...counts.keys()])].map((value) => node("option", { value })));
  const rename = app.find(".cv-rename");
  rename.hidden = !state.filter;
  if (state.filter) rename.querySelector("input").setAttribute("aria-label", text.renameAll(state.filter));
}

export function labelClicked(app, label) {
  const { state } = app;
  if (state.selected) return app.send({ do: "rename", keys: [state.selected], name: label });
  if (state.masks.length) return addObject(app, label);
  state.filter = state.filter === label ? "" : label;
  listPanel(app);
  app.draw();
}

// Add the chosen mask as an object, once.
export function addObject(app, name) {
  const { state } = app;
  if (state.prompts === state.adding) return;
  state.adding = state.prompts;
  app.send({ do: "accept", prompts: state.prompts, choice: state.choice, name });
}

export function select(app, key) {
  const { state } = app;
  if (state.selected === key) return;
  state.selected = key;
  app.all(".cv-objects li").forEach((row) => row.classList.toggle("cv-selected", row.dataset.key === key));
  const found = state.objects.find((each) => each.key === key);
  if (found) app.say(text.selected(found.label, found.score.toFixed(2)));
  listLabels(app);
  showPolygon(app);
  app.draw();
}

// Keys then act on the object, as after a click in the image.
function selectRow(app, key) {
  select(app, key);
  app.canvas.focus({ preventScroll: true });
}

function toggle(app, set, key) {
  if (!set.delete(key)) set.add(key);
  listPanel(app);
  app.draw();
}

function listObjects(app) {
  const { state } = app;
  state.highlighted = null; // rows that are replaced do not see the pointer leave
  const rows = state.objects.filter((each) => !state.filter || each.label === state.filter).map((each, row) => objectRow(app, each, row));
  app.listing = true;
  app.find(".cv-objects").replaceChildren(...rows);
  app.listing = false;
  app.find(".cv-count").textContent = rows.length ? String(rows.length) : "";
  app.find('[data-hint="objects"]').hidden = rows.length > 0;
}

function objectRow(app, each, row) {
  const { state } = app;
  const name = node("input", {
    type: "text", "data-part": "name", "aria-label": text.nameOf(row + 1), maxlength: 1000, autocomplete: "off", title: each.label, list: "cv-names",
    onfocus: () => select(app, each.key),
    oninput: () => { state.typed = { key: each.key, name: name.value }; },
    onchange: () => renamed(app, each, name), onblur: () => renamed(app, each, name),
    onkeydown: (event) => event.key === "Enter" && app.canvas.focus({ preventScroll: true }),
  });
  name.value = state.typed?.key === each.key ? state.typed.name : each.label;
  const button = (part, title, pressed, sign, action) => node("button", {
    type: "button", class: "cv-small", "data-part": part, "aria-label": title, title, "aria-pressed": pressed, onclick: action,
  }, sign);
  const highlight = (key) => () => { state.highlighted = key; app.draw(); };
  return node("li", {
    "data-key": each.key, class: each.key === state.selected ? "cv-selected" : "",
    onclick: (event) => event.target.closest("button, input") || selectRow(app, each.key),
    onmouseenter: highlight(each.key), onmouseleave: highlight(null),
  },
  swatch(each.color), name, node("span", { class: "cv-score" }, each.score.toFixed(2)),
  button("hide", text.hide(each.label), String(state.hidden.has(each.key)), state.hidden.has(each.key) ? "\u25cb" : "\u25cf", () => toggle(app, state.hidden, each.key)),
  button("lock", text.lock(each.label), String(state.locked.has(each.key)), state.locked.has(each.key) ? "\u25a0" : "\u25a1", () => toggle(app, state.locked, each.key)),
  button("delete", text.deleteObject(each.label), null, "\u00d7", () => removeObject(app, each.key)));
}

// A typed name is sent when the field is left, but not when the list is made anew meanwhile.
function renamed(app, { key, label }, field) {
  const { state } = app;
  if (state.typed?.key !== key || app.listing) return;
  const { name } = state.typed;
  state.typed = null;
  if (name.trim() && name !== label) app.send({ do: "rename", keys: [key], name });
  else field.value = label;
}

export function removeObject(app, key) {
  if (app.state.locked.has(key)) return app.say(text.locked, true);
  app.state.removed.add(key);
  app.state.selected = null;
  app.send({ do: "remove", key });
}

function scoreRow(each) {
  const bar = node("span", { class: "cv-bar-of" });
  bar.style.width = 100 * each.score + "%";
  if (each.color) bar.style.background = each.color;
  return node("li", {}, swatch(each.color), node("span", { class: "cv-word" }, each.label), node("span", { class: "cv-score" }, each.score.toFixed(2)), bar);
}

function listTags(app) {
  const rows = app.state.tags.map(scoreRow);
  app.find(".cv-tags").replaceChildren(...rows);
  app.find("[data-card=tags]").hidden = !rows.length;
}

// The probability that each label is in the image; it does not depend on the thresholds.
function listPresence(app) {
  const { present, absent } = app.state.presence || {};
  const shown = Boolean(present && present.rows.length + absent.rows.length);
  app.find("[data-card=presence]").hidden = !shown;
  if (!shown) return;
  const line = (words) => node("li", { class: "cv-more" }, words);
  const lines = (side) => [...side.rows.map(scoreRow), ...(side.more ? [line(text.more(side.more))] : [])];
  app.find(".cv-present").replaceChildren(...(present.rows.length ? lines(present) : [line(text.noneOfThese)]));
  app.find(".cv-absent").replaceChildren(...lines(absent));
  app.find("[data-absent]").hidden = !absent.rows.length;
}

export function nextObject(app) {
  clearPrompts(app);
  app.state.selected = null;
  listPanel(app);
  app.say(text.clickNext);
  app.draw();
  app.canvas.focus({ preventScroll: true });
}
