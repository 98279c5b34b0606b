// Unit tests of the strip's modules without a browser.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

const folder = "../../../../openvocab/ui/web/";
const source = (name) => "data:text/javascript," + encodeURIComponent(readFileSync(new URL(folder + name, import.meta.url), "utf8"));
const { adjusted, keyOf, merged, stepOf, targetOf, urlWith } = await import(source("strip/state.js"));
const { countsLine } = await import(source("strip/strings.js"));

const value = (status) => ({
  at: "b",
  counts: { new: 1, [status]: 1 },
  images: [{ key: "a", status: "new" }, { key: "b", status }],
});

test("the URL names the open image and keeps its other parts", () => {
  const made = urlWith("http://host/?__theme=dark&image=x#top", "b");
  assert.equal(made, "http://host/?__theme=dark&image=b#top");
  assert.equal(keyOf(made), "b");
  assert.equal(keyOf("http://host/"), "");
});

test("keys go to other images, and not with a modifier", () => {
  assert.equal(stepOf({ key: "d" }), "next");
  assert.equal(stepOf({ key: "A" }), "previous");
  assert.equal(stepOf({ key: "r" }), "review");
  assert.equal(stepOf({ key: "r", ctrlKey: true }), null);
  assert.equal(stepOf({ key: "q" }), null);
});

test("an edit makes the open image corrected, undo makes it answered, and reviewed stays", () => {
  const corrected = adjusted(value("answered"), 2);
  assert.equal(corrected.images[1].status, "corrected");
  assert.deepEqual(corrected.counts, { new: 1, answered: 0, corrected: 1 });
  assert.equal(adjusted(corrected, 0).images[1].status, "answered");
  assert.equal(adjusted(value("reviewed"), 3).images[1].status, "reviewed");
  assert.equal(countsLine(corrected.counts), "1 new, 1 corrected");
});

test("a status that comes late changes no image that is open, and none of another folder", () => {
  const told = { at: "a", counts: { answered: 1, new: 1 }, unsaved: true, images: [{ key: "a", status: "answered" }] };
  const made = merged({ ...value("new"), index: 1 }, told);
  assert.deepEqual([made.at, made.index, made.unsaved, made.counts], ["b", 1, true, told.counts]);
  assert.deepEqual(made.images.map((each) => each.status), ["answered", "new"]);
  assert.deepEqual(merged(value("new"), { ...told, images: [{ key: "z", status: "new" }] }), value("new"));
});

test("the line of counts has the plural of error, and no status without an image", () => {
  assert.equal(countsLine({ new: 2, error: 3, reviewed: 0 }), "2 new, 3 errors");
  assert.equal(countsLine({ error: 1 }), "1 error");
});

test("the image that an action opens is known before the server answers", () => {
  const shown = value("new");
  const targets = [{ do: "previous" }, { do: "next" }, { do: "review" }, { do: "order" }, { do: "open", key: "z" }, { do: "open", key: "" }];
  assert.deepEqual(targets.map((action) => targetOf(shown, action)), ["a", null, null, null, "z", null]);
  assert.equal(targetOf({ ...shown, at: "a" }, { do: "review" }), "b");
  assert.equal(targetOf({ ...value("reviewed"), images: [{ key: "b", status: "reviewed" }, { key: "c" }] }, { do: "review" }), null);
  assert.equal(targetOf({ images: [] }, { do: "next" }), null);
});
