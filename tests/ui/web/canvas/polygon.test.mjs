// Unit tests of the polygon's geometry without a browser.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";

const source = readFileSync(join(process.env.CANVAS, "polygon.js"), "utf8");
const { cornerAt, edgeAt, inserted, middleAfter, moved, removed, stepped } = await import("data:text/javascript," + encodeURIComponent(source));

const square = [[0, 0], [10, 0], [10, 10], [0, 10]];
const hole = [[4, 4], [6, 4], [6, 6]];
const rings = [square, hole];

test("the nearest corner within reach is found, over all rings", () => {
  assert.deepEqual(cornerAt(rings, [9, 1], 2), { ring: 0, at: 1 });
  assert.deepEqual(cornerAt(rings, [5.9, 4.2], 2), { ring: 1, at: 1 });
  assert.equal(cornerAt(rings, [2, 5], 2), null);
});

test("the nearest edge within reach is found with the point on it", () => {
  assert.deepEqual(edgeAt(rings, [3, 1], 2), { ring: 0, at: 1, point: [3, 0] });
  assert.deepEqual(edgeAt(rings, [-1, 5], 2), { ring: 0, at: 4, point: [0, 5] });
  assert.equal(edgeAt(rings, [20, 20], 2), null);
  assert.deepEqual(edgeAt([[[1, 1], [1, 1], [1, 1]]], [1, 2], 2).point, [1, 1]);
});

test("a change returns new rings and leaves the others as they are", () => {
  const after = moved(rings, { ring: 0, at: 2 }, [12, 12]);
  assert.deepEqual(after[0][2], [12, 12]);
  assert.equal(after[1], hole);
  assert.deepEqual(square[2], [10, 10]);
  const more = inserted(rings, { ring: 0, at: 4, point: [0, 5] });
  assert.deepEqual(more[0], [...square, [0, 5]]);
});

test("a ring of three corners goes as a whole, and the last one stays", () => {
  assert.deepEqual(removed(rings, { ring: 0, at: 0 })[0], square.slice(1));
  assert.deepEqual(removed(rings, { ring: 1, at: 0 }), [square]);
  assert.equal(removed([hole], { ring: 0, at: 0 }), null);
});

test("keys go through the corners of all rings, and around", () => {
  assert.deepEqual(stepped(rings, null, 1), { ring: 0, at: 0 });
  assert.deepEqual(stepped(rings, null, -1), { ring: 1, at: 2 });
  assert.deepEqual(stepped(rings, { ring: 0, at: 3 }, 1), { ring: 1, at: 0 });
  assert.deepEqual(stepped(rings, { ring: 1, at: 2 }, 1), { ring: 0, at: 0 });
  assert.deepEqual(middleAfter(rings, { ring: 0, at: 3 }), { ring: 0, at: 4, point: [0, 5] });
});
