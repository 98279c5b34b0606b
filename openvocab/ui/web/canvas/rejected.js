// Boxes that verification rejected: each is listed with its score and reason, shown in the image, and can be brought back.

import { node } from "./dom.js";
import { keyAfter } from "./objects.js";
import { text } from "./strings.js";

export function listRejected(app) {
  const { state } = app;
  const part = app.find(".cv-rejected");
  if (!state.rejected.some((each) => each.key === state.pointed)) state.pointed = null;
  part.hidden = !state.rejected.length;
  part.querySelector("summary").textContent = text.rejected(state.rejected.length);
  app.find(".cv-rejections").replaceChildren(...state.rejected.map((each) => rowOf(app, each)));
}

function rowOf(app, each) {
  const shows = (key) => () => point(app, key);
  const button = (part, words, label, relabel) => node("button", {
    type: "button", "data-part": part, title: text.bringBackAs(label), "aria-label": text.bringBackAs(label),
    onclick: () => restore(app, each.key, relabel), onfocus: shows(each.key), onblur: shows(null),
  }, words);
  return node("li", {
    "data-key": each.key, class: each.key === app.state.pointed ? "cv-selected" : "",
    onclick: shows(each.key), onmouseenter: shows(each.key), onmouseleave: shows(null),
  },
  node("span", { class: "cv-word", title: each.label }, each.label + " ", node("span", { class: "cv-score" }, each.score.toFixed(2))),
  button("restore", text.bringBack, each.label, false),
  node("small", {}, each.reason),
  ...(each.looksLike ? [button("relabel", text.asLabel(each.looksLike), each.looksLike, true)] : []));
}

// Show a rejected box in the image; null shows none.
function point(app, key) {
  app.state.pointed = key;
  for (const row of app.all(".cv-rejections li")) row.classList.toggle("cv-selected", row.dataset.key === key);
  app.draw();
}

function restore(app, key, relabel) {
  Object.assign(app.state, { selected: key, pointed: null });
  app.send({ do: "restore", key, relabel });
}

// --- keys

export function pointNext(app, by) {
  const key = keyAfter(app.state.rejected, app.state.pointed, by);
  if (key === null) return app.say(text.noRejected);
  app.find(".cv-rejected").open = true;
  point(app, key);
  const { label, score, reason, looksLike } = app.state.rejected.find((each) => each.key === key);
  app.find(".cv-rejections .cv-selected").scrollIntoView({ block: "nearest" });
  app.say(text.rejectedBox(label, score.toFixed(2), reason) + (looksLike ? text.rejectedLike(looksLike) : ""));
}

export function restorePointed(app, relabel) {
  if (app.state.pointed === null) return pointNext(app, 1);
  restore(app, app.state.pointed, relabel);
}
