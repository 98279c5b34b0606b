// The images of a folder: thumbnails with their status, next and previous, the order, and the state in the URL.
// value: {served} at first, then
// {at, index, total, name, counts, order, images: [{key, name, status, error}], serial, start, upload, unsaved}

import { countsLine, image as imageText, kept, place, statusNames } from "./strings.js";
import { adjusted, keyOf, merged, stepOf, targetOf, urlWith } from "./state.js";

const WAIT = 50; // milliseconds between looks whether the workspace has an answer in progress
const MAX_WAIT = 20000;
const MAX_LATER = 10; // actions that wait
const USE = 300000; // milliseconds between requests that tell the server that an upload is still open

export function mount({ element, props, trigger, watch }) {
  const root = element.querySelector(".st");
  const app = { root, trigger, value: {}, board: () => document.querySelector("#work-canvas .cv"), busy: false, later: [] };
  const find = (query) => root.querySelector(query);
  for (const button of root.querySelectorAll("[data-go]")) button.addEventListener("click", () => go(app, { do: button.dataset.go }));
  find("[data-order]").addEventListener("change", (event) => go(app, { do: "order", order: event.target.value }));
  find(".st-images").addEventListener("keydown", (event) => arrow(event));
  document.addEventListener("keydown", (event) => key(app, event));
  window.addEventListener("popstate", () => go(app, { do: "open", key: keyOf(location.href) }));
  watch("value", () => receive(app, props.value || {}));
  root.addEventListener("st-refused", () => answered(app, {}));
  ready(app).then(() => {
    new MutationObserver(() => edited(app)).observe(app.board(), { attributeFilter: ["data-edits"] });
    root.dataset.ready = "yes";
    const key = keyOf(location.href);
    if (key || props.value?.served) go(app, { do: "open", key, first: true });
    setInterval(() => use(app), USE);
  });
}

async function ready(app) {
  while (!app.board()?.dataset.ready) await new Promise((done) => setTimeout(done, WAIT));
}

// Leave the image once the workspace has its answers, and only if the visitor agrees to drop what is not added.
async function go(app, action) {
  if (app.busy) return later(app, action);
  const board = app.board();
  if (action.do !== "order" && !action.asked && !board.dispatchEvent(new CustomEvent("cv-leave", { cancelable: true }))) return restoreUrl(app);
  app.busy = true;
  app.root.dataset.busy = "yes";
  const until = performance.now() + MAX_WAIT;
  while (board.dataset.busy && performance.now() < until) await new Promise((done) => setTimeout(done, WAIT));
  preview(app, targetOf({ images: [], ...app.value }, action));
  app.sent = (app.sent || 0) + 1;
  app.trigger("go", { key: "", order: app.root.querySelector("[data-order]").value, ...action, serial: app.sent, at: app.value.at || "" });
}

// While an image opens, next, previous and the order wait: two steps go on by two images. A chosen image takes their place.
function later(app, action) {
  if (action.do === "open") app.later = [action];
  else if (action.do !== "review" && app.later.length < MAX_LATER) app.later.push(action);
}

// The workspace shows the thumbnail until the image is open.
function preview(app, key) {
  app.target = key;
  const picture = [...app.root.querySelectorAll(".st-images button")].find((each) => each.dataset.key === key)?.querySelector("img");
  if (picture) app.board().dispatchEvent(new CustomEvent("cv-opening", { detail: picture }));
}

// A request was answered. If the image that it asked for is not the open one now, the one that was open is shown again.
function answered(app, { at }) {
  if (at !== app.target) app.board().dispatchEvent(new Event("cv-stays"));
  const next = at && (!app.target || at === app.target) ? app.later.shift() : undefined; // no target: at the first or last image
  if (next) return setTimeout(() => { settled(app); go(app, next); }); // after the image is shown; a key until then waits behind it
  app.later = [];
  settled(app);
}

function settled(app) {
  app.busy = false;
  delete app.root.dataset.busy;
}

function use({ value }) {
  if (value.upload && value.at) fetch(thumbnailUrl(value.at), { cache: "no-store" }).catch(() => {});
}

// A new upload begins with its first image; the visitor was asked before the files were sent.
async function start(app, key) {
  while (app.busy) await new Promise((done) => setTimeout(done, WAIT));
  go(app, { do: "open", key, first: true, asked: true });
}

function receive(app, value) {
  if (!value.images) return;
  if (value.serial === undefined && !value.start) return told(app, value);
  app.value = value;
  if (value.start) return start(app, value.start);
  if (value.serial === app.sent) answered(app, value);
  show(app);
  if (!app.opened) app.opened = value.at;
  else if (value.at && app.opened !== value.at) scrollTo(app, value.at);
  if (value.at && value.at !== keyOf(location.href)) {
    const url = urlWith(location.href, value.at);
    if (keyOf(location.href)) history.pushState({}, "", url);
    else history.replaceState({}, "", url);
  }
}

// The status of the images, after a run or an export, perhaps of the image before: which one is open stays as it is.
function told(app, value) {
  if (!app.value.images) return;
  app.value = merged(app.value, value);
  if (!app.busy) app.value = adjusted(app.value, Number(app.board().dataset.edits || 0));
  show(app);
}

// After the first image, the strip and the image under it are in view.
function scrollTo(app, at) {
  app.opened = at;
  const stage = app.board().querySelector(".cv-stage").getBoundingClientRect();
  if (stage.top < 0 || stage.bottom > window.innerHeight) app.root.scrollIntoView({ block: "start" });
}

// Back in the browser was declined: the URL names the image that is still open.
function restoreUrl(app) {
  if (app.value.at && app.value.at !== keyOf(location.href)) history.pushState({}, "", urlWith(location.href, app.value.at));
}

function show(app) {
  const { value, root } = app;
  root.hidden = !value.images.length;
  app.board().dataset.unsaved = value.unsaved ? "yes" : "no";
  root.querySelector(".st-kept").textContent = kept;
  root.querySelector(".st-kept").hidden = !value.upload;
  const list = root.querySelector(".st-images");
  const had = list.contains(document.activeElement);
  list.replaceChildren(...value.images.map((each) => thumbnail(app, each)));
  const current = list.querySelector("[aria-current=true]") || list.firstElementChild;
  if (current) {
    current.tabIndex = 0;
    list.scrollLeft = current.offsetLeft - (list.clientWidth - current.clientWidth) / 2;
    if (had) current.focus({ preventScroll: true });
  }
  const status = value.images.find((each) => each.key === value.at)?.status;
  root.querySelector(".st-at").textContent = value.note || place(value.index + 1, value.total, value.name || "");
  root.querySelector(".st-counts").textContent = countsLine(value.counts || {});
  root.querySelector("[data-go=review]").setAttribute("aria-pressed", String(status === "reviewed"));
  root.querySelector("[data-order]").value = value.order || "name";
  Object.assign(root.dataset, { at: value.at || "", status: status || "" });
}

const thumbnailUrl = (key) => new URL(`folder/thumbnail/${key}`, document.baseURI);

function thumbnail(app, each) {
  const button = document.createElement("button");
  const picture = document.createElement("img");
  const status = document.createElement("span");
  const current = each.key === app.value.at;
  Object.assign(button, { type: "button", title: each.error || each.name, tabIndex: -1 });
  Object.assign(button.dataset, { key: each.key, status: each.status });
  button.setAttribute("aria-label", imageText(each.name, each.status));
  if (current) button.setAttribute("aria-current", "true");
  button.addEventListener("click", () => go(app, { do: "open", key: each.key }));
  Object.assign(picture, { loading: "lazy", alt: "" });
  if (each.status !== "error") picture.src = thumbnailUrl(each.key);
  status.textContent = statusNames[each.status] || each.status;
  status.setAttribute("aria-hidden", "true");
  button.append(picture, status);
  return button;
}

// An edit in the workspace changes the status of the open image before the server sends the strip anew.
function edited(app) {
  if (!app.value.images || app.busy) return;
  app.value = adjusted(app.value, Number(app.board().dataset.edits || 0));
  show(app);
}

function arrow(event) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const buttons = [...event.currentTarget.querySelectorAll("button")];
  const at = buttons.indexOf(document.activeElement);
  if (!step || at < 0) return;
  event.preventDefault();
  const next = buttons[Math.min(Math.max(at + step, 0), buttons.length - 1)];
  for (const each of buttons) each.tabIndex = each === next ? 0 : -1;
  next.focus();
}

function key(app, event) {
  const inside = event.target.closest?.("#work-canvas, .st") || event.target === document.body;
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) && event.target.type !== "range";
  const step = stepOf(event);
  if (!step || !inside || typing || event.repeat) return;
  event.preventDefault();
  go(app, { do: step });
}
