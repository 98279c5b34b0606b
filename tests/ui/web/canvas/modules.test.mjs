// Unit tests of the canvas's modules without a browser; CANVAS is their folder, MASKS names masks that pycocotools encoded.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";

const source = (name) => "data:text/javascript," + encodeURIComponent(readFileSync(join(process.env.CANVAS, name), "utf8"));
const { decodeMask, isEdge, partOf, pixelsOf } = await import(source("rle.js"));
const { bounded, centered, fit, pan, revealed, toImage, toScreen, zoomAt } = await import(source("viewport.js"));
const { dragBox, handleAt, keyAfter, labelCounts, labelKeys, objectAt, splitWords, visible } = await import(source("objects.js"));

test("masks of pycocotools are decoded to the same pixels", () => {
  const masks = JSON.parse(readFileSync(process.env.MASKS, "utf8"));
  assert.ok(masks.length >= 3);
  for (const each of masks) assert.deepEqual([...decodeMask(each).bits], each.bits);
});

test("the edge of a mask is one pixel wide, and the border of the image is an edge", () => {
  const mask = { width: 5, height: 5, bits: new Uint8Array(25).fill(1) };
  assert.equal(isEdge(mask, 2, 2, 1), false);
  assert.equal(isEdge(mask, 0, 2, 1), true);
  const pixels = pixelsOf(mask, [0, 0, 5, 5], [1, 2, 3], 1);
  assert.equal(pixels.filter((_, at) => at % 4 === 3).filter(Boolean).length, 16);
  assert.deepEqual(partOf({ width: 50, height: 40 }, [10, 10, 20, 20], { width: 100, height: 80 }), [4, 4, 11, 11]);
});

test("fit shows the whole image in the middle, and zoom keeps the point under the pointer", () => {
  const image = { width: 200, height: 100 };
  const screen = { width: 400, height: 400 };
  const view = fit(image, screen);
  assert.deepEqual(view, { scale: 2, x: 0, y: 100 });
  const zoomed = zoomAt(view, [100, 200], 2, image, screen);
  assert.deepEqual(toImage(zoomed, [100, 200]), toImage(view, [100, 200]));
  assert.deepEqual(toScreen(zoomed, toImage(zoomed, [7, 9])), [7, 9]);
  assert.equal(zoomAt(view, [0, 0], 1e9, image, screen).scale, 32);
  assert.equal(centered(image, screen, 1).x, 100);
  assert.equal(pan(view, 1e6, 0, image, screen).x, 360);
  assert.equal(bounded({ scale: 1, x: -1e6, y: 0 }, image, screen).x, -160);
});

test("a point that keys reach is in view, and the view stays as it is where it was", () => {
  const screen = { width: 400, height: 300 };
  const view = { scale: 10, x: -500, y: -600 };
  for (const point of [[0, 0], [200, 10], [70, 200], [70, 70]]) {
    const [x, y] = toScreen(revealed(view, point, screen), point);
    assert.ok(x >= 24 && x <= 376 && y >= 24 && y <= 276, `${point}: ${x}, ${y}`);
  }
  assert.deepEqual(revealed(view, [70, 75], screen), view);
});

const box = (key, label, xyxy, more = {}) => ({ key, label, box: xyxy, boxScore: 0.5, tagScore: 0.9, color: "#000000", ...more });
const objects = [box("a", "cat", [0, 0, 50, 50]), box("b", "dog", [10, 10, 20, 20], { boxScore: 0.8 }), box("c", "cat", [60, 60, 70, 70], { byHand: true, boxScore: 0.1 })];
const keys = (list) => list.map((each) => each.key).join("");

test("hidden objects, other labels and low scores are not shown, but what a person made is", () => {
  assert.equal(keys(visible(objects)), "abc");
  assert.equal(keys(visible(objects, { hidden: new Set(["a"]) })), "bc");
  assert.equal(keys(visible(objects, { label: "cat" })), "ac");
  assert.equal(keys(visible(objects, { thresholds: { box_threshold: 0.7 } })), "bc");
  assert.equal(keys(visible(objects, { thresholds: { tag_threshold: 0.95 } })), "c");
});

test("a click selects the smallest object whose mask has the point", () => {
  const size = { width: 100, height: 100 };
  const full = { width: 10, height: 10, bits: new Uint8Array(100).fill(1) };
  assert.equal(objectAt(objects, [15, 15], size, () => null).key, "b");
  assert.equal(objectAt(objects, [15, 15], size, (each) => (each.key === "a" ? full : null)).key, "a");
  assert.equal(objectAt(objects, [90, 90], size, () => null), null);
});

test("labels are counted, and keys go to the words first", () => {
  assert.deepEqual(labelCounts(objects).map((each) => [each.label, each.count]), [["cat", 2], ["dog", 1]]);
  assert.deepEqual(labelKeys(["bird", "dog"], objects), ["bird", "dog", "cat"]);
  assert.deepEqual(splitWords("cat, Dog;dog\n red  car,,"), ["cat", "Dog", "red car"]);
});

test("keys go through the rows and around, from the first or the last one", () => {
  assert.equal(keyAfter(objects, null, 1), "a");
  assert.equal(keyAfter(objects, null, -1), "c");
  assert.equal(keyAfter(objects, "c", 1), "a");
  assert.equal(keyAfter([], "c", 1), null);
});

test("a box is moved and resized inside the image", () => {
  const size = { width: 100, height: 100 };
  assert.equal(handleAt([10, 10, 50, 50], [11, 49], 3), "sw");
  assert.equal(handleAt([10, 10, 50, 50], [30, 30], 3), "move");
  assert.equal(handleAt([10, 10, 50, 50], [80, 30], 3), null);
  assert.deepEqual(dragBox([10, 10, 50, 50], "move", [-30, 100], size), [0, 60, 40, 100]);
  assert.deepEqual(dragBox([10, 10, 50, 50], "se", [-100, 5], size), [10, 10, 11, 55]);
});
