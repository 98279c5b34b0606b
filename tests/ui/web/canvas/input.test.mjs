// Unit tests of keys, prompts and the height of the image, without a browser.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";

const source = (name) => "data:text/javascript," + encodeURIComponent(readFileSync(join(process.env.CANVAS, name), "utf8"));
const { commandOf, directionOf, stepOf } = await import(source("keys.js"));
const { boxBetween, promptAt, rescale, shapeOf, withPrompt } = await import(source("prompts.js"));
const { columnsOf, heightOf } = await import(source("room.js"));
const { brushAt, nextSize } = await import(source("brush.js").replace(encodeURIComponent('import { text } from "./strings.js";'), ""));
const { pinched } = await import(source("viewport.js"));

const { remember, reopen } = await import(source("reload.js"));

const KEYS = [
  ["a letter, whatever its case", { key: "U" }, false, "undo"],
  ["undo with control", { key: "z", ctrlKey: true }, true, "undo"],
  ["redo with control and shift", { key: "Z", ctrlKey: true, shiftKey: true }, false, "redo"],
  ["redo with control and y", { key: "y", metaKey: true }, false, "redo"],
  ["another key with control is the browser's", { key: "f", ctrlKey: true }, false, null],
  ["keys with alt are the browser's", { key: "u", altKey: true }, true, null],
  ["an arrow on the canvas", { key: "ArrowUp" }, true, "arrow"],
  ["an arrow elsewhere", { key: "ArrowUp" }, false, null],
  ["enter on the canvas", { key: "Enter" }, true, "accept"],
  ["enter on a button presses it", { key: "Enter" }, false, null],
  ["space on the canvas", { key: " " }, true, "mark"],
  ["a number", { key: "3" }, false, "number"],
  ["zero is no number of a label", { key: "0" }, false, null],
];
for (const [name, event, onCanvas, command] of KEYS) test(`keys: ${name}`, () => assert.equal(commandOf(event, onCanvas), command));

test("arrows go along a group and along the axes", () => {
  assert.deepEqual(["ArrowRight", "ArrowUp", "x"].map(stepOf), [1, -1, 0]);
  assert.deepEqual(directionOf("ArrowLeft"), [-1, 0]);
});

const point = { kind: "point", at: [10, 10], inside: true };
const stroke = { kind: "stroke", path: [[30, 30], [40, 30]], inside: false };

test("a box has its corners in order and an area, and replaces an earlier one", () => {
  const box = boxBetween([50, 5], [20, 25]);
  assert.deepEqual(box.xyxy, [20, 5, 50, 25]);
  assert.equal(boxBetween([5, 5], [5, 25]), null);
  const other = boxBetween([0, 0], [3, 3]);
  assert.deepEqual(withPrompt([point, box], other), [point, other]);
  assert.deepEqual(withPrompt([box], point), [box, point]);
});

test("the latest prompt within reach is found by its point, path or corners", () => {
  const box = boxBetween([0, 0], [60, 60]);
  assert.equal(promptAt([point, stroke, box], [11, 12], 4), point);
  assert.equal(promptAt([point, stroke, box], [39, 31], 4), stroke);
  assert.equal(promptAt([point, stroke, box], [59, 60], 4), box);
  assert.equal(promptAt([point, stroke, box], [20, 45], 4), null);
});

test("prompts on a preview become prompts on the image, and stay the same ones in the history", () => {
  const first = { kind: "point", at: [10, 20], inside: true };
  const others = [{ kind: "stroke", path: [[1, 2]], inside: true }, { kind: "box", xyxy: [1, 2, 3, 4] }];
  const drag = { at: [5, 5], from: [1, 1], to: [2, 2], path: [[1, 1]], shape: {} };
  const state = rescale({ prompts: [first, ...others], history: [[], [first]], undone: [], drag, crosshair: [4, 4], corner: null }, [2, 3]);
  assert.deepEqual(first.at, [20, 60]);
  assert.deepEqual([others[0].path, others[1].xyxy], [[[2, 6]], [2, 6, 6, 12]]);
  assert.equal(state.history[1][0], first);
  assert.deepEqual(drag, { at: [5, 5], from: [2, 3], to: [4, 6], path: [[2, 3]], shape: null });
  assert.deepEqual([state.crosshair, state.corner], [[8, 12], null]);
});

test("a drag draws what the tool does, and with another button a stroke", () => {
  const drag = { path: [[1, 1], [5, 5]], inside: false, from: [1, 1], to: [5, 5], primary: true };
  assert.deepEqual(shapeOf("brush", drag, 3), { kind: "paint", path: drag.path, inside: true, radius: 3 });
  assert.deepEqual(shapeOf("eraser", drag, 3).inside, false);
  assert.deepEqual(shapeOf("point", drag, 3), { kind: "box", xyxy: [1, 1, 5, 5] });
  assert.deepEqual(shapeOf("point", { ...drag, primary: false }, 3), { kind: "stroke", path: drag.path, inside: false });
});

test("the image ends at the lower edge of the window, and on a phone it has its own shape", () => {
  const wide = { width: 1440, height: 900 };
  assert.equal(heightOf({ top: 310, width: 990, window: wide, image: {} }), 550);
  assert.equal(heightOf({ top: 800, width: 990, window: wide, image: {} }), 280);
  assert.deepEqual([200, 400, 520].map((top) => columnsOf({ top, window: wide })), [1, 2, 3]);
  assert.equal(columnsOf({ top: 600, window: { width: 390, height: 844 } }), 1);
  const phone = { width: 390, height: 844 };
  assert.equal(heightOf({ top: 600, width: 350, window: phone, image: { width: 256, height: 256 } }), 350);
  assert.equal(heightOf({ top: 600, width: 350, window: phone, image: { width: 256, height: 2560 } }), 523);
  assert.equal(heightOf({ top: 600, width: 350, window: phone, image: { width: 2560, height: 256 } }), 200);
});

test("the size of the brush grows and shrinks by a quarter, and has limits", () => {
  assert.deepEqual([2, 16, 20, 160].map((size) => nextSize(size, 1)), [4, 20, 26, 160]);
  assert.deepEqual([2, 4, 16, 160].map((size) => nextSize(size, -1)), [2, 2, 12, 128]);
});

test("the circle of the brush is under the pointer, else at the crosshair, and only for tools that paint", () => {
  const state = { tool: "eraser", pointer: null, crosshair: [10, 20], view: { scale: 2, x: 5, y: 0 } };
  assert.deepEqual(brushAt(state), [25, 40]);
  assert.deepEqual(brushAt({ ...state, pointer: [1, 2] }), [1, 2]);
  assert.equal(brushAt({ ...state, crosshair: null }), null);
  assert.equal(brushAt({ ...state, tool: "point" }), null);
});

test("two fingers zoom by their distance, and move the image with them", () => {
  const image = { width: 100, height: 100 }, screen = { width: 400, height: 400 }, view = { scale: 4, x: 0, y: 0 };
  assert.deepEqual(pinched(view, [[100, 100], [200, 100]], [[50, 100], [250, 100]], image, screen), { scale: 8, x: -150, y: -100 });
  assert.deepEqual(pinched(view, [[100, 100], [200, 100]], [[110, 130], [210, 130]], image, screen), { scale: 4, x: 10, y: 30 });
});

const storage = () => {
  const held = new Map();
  return { getItem: (name) => held.get(name) ?? null, setItem: (name, value) => held.set(name, value), removeItem: (name) => held.delete(name) };
};

for (const [name, token, url, asked] of [
  ["an image comes again", "abc", "http://host/", [["reopen", { token: "abc" }]]],
  ["an image of a folder has its own place", "abc", "http://host/?image=x", []],
  ["no image comes again", undefined, "http://host/", []],
]) {
  test(`reload: ${name}`, () => {
    const [held, got] = [storage(), []];
    remember("before", held);
    remember(token, held);
    reopen({ trigger: (...given) => got.push(given) }, held, url);
    assert.deepEqual(got, asked);
  });
}

test("reload: without storage an image is forgotten", () => {
  const none = new Proxy({}, { get: () => { throw new Error("denied"); } });
  const got = [];
  remember("abc", none);
  reopen({ trigger: () => got.push(1) }, none, "http://host/");
  assert.deepEqual(got, []);
});
