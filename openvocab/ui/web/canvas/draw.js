// Drawing: the image, masks, boxes, names and prompts, in screen pixels under the viewport.

import { channels, node, textColorOn } from "./dom.js";
import { decodeMask, partOf, pixelsOf } from "./rle.js";
import { toScreen } from "./viewport.js";

export const ACCENT = "#2f6fed";
const MAX_CACHED = 300;
const NAME_HEIGHT = 21;

const decodedMasks = new Map();
const layers = new Map();

function cached(cache, key, make) {
  if (!cache.has(key)) {
    if (cache.size >= MAX_CACHED) cache.delete(cache.keys().next().value);
    cache.set(key, make());
  }
  return cache.get(key);
}

export function decoded(object) {
  return object.mask ? cached(decodedMasks, object.mask.counts, () => decodeMask(object.mask)) : null;
}

// The area and the edge of a mask as two sheets, with their place in the mask.
function layersOf(object, color, size) {
  return cached(layers, color + object.mask.counts, () => {
    const mask = decoded(object);
    const part = partOf(mask, object.box, size);
    const reach = Math.max(1, Math.round(Math.max(mask.width, mask.height) / 500));
    return { mask, part, fill: sheet(mask, part, color, 0), edge: sheet(mask, part, color, reach) };
  });
}

function sheet(mask, part, color, reach) {
  const [width, height] = [part[2] - part[0], part[3] - part[1]];
  const made = node("canvas", { width: Math.max(width, 1), height: Math.max(height, 1) });
  if (width < 1 || height < 1) return made;
  made.getContext("2d").putImageData(new ImageData(pixelsOf(mask, part, channels(color), reach), width, height), 0, 0);
  return made;
}

export function paintMask(context, object, color, opacity, size, view) {
  if (!object.mask || !object.box) return;
  const { mask, part, fill, edge } = layersOf(object, color, size);
  const across = (size.width / mask.width) * view.scale;
  const down = (size.height / mask.height) * view.scale;
  const place = [view.x + part[0] * across, view.y + part[1] * down, (part[2] - part[0]) * across, (part[3] - part[1]) * down];
  context.globalAlpha = opacity;
  context.drawImage(fill, ...place);
  context.globalAlpha = Math.min(1, opacity * 2.5);
  context.drawImage(edge, ...place);
  context.globalAlpha = 1;
}

// A light line over a wider dark one is visible on any background.
function outlined(context, color, width, path, dash = []) {
  for (const [lineWidth, style] of [[width + 2, "rgba(0, 0, 0, 0.65)"], [width, color]]) {
    context.lineWidth = lineWidth;
    context.strokeStyle = style;
    context.setLineDash(dash);
    context.beginPath();
    path();
    context.stroke();
  }
  context.setLineDash([]);
}

function screenBox(view, [left, top, right, bottom]) {
  const [x, y] = toScreen(view, [left, top]);
  return [x, y, (right - left) * view.scale, (bottom - top) * view.scale];
}

export function drawBox(context, box, view, color, selected) {
  const [x, y, width, height] = screenBox(view, box);
  outlined(context, color, selected ? 3 : 1.5, () => context.rect(x, y, width, height));
  if (!selected) return;
  for (const [right, down] of [[0, 0], [0.5, 0], [1, 0], [0, 0.5], [1, 0.5], [0, 1], [0.5, 1], [1, 1]]) {
    context.fillStyle = "#ffffff";
    context.strokeStyle = "#000000";
    context.lineWidth = 1;
    context.beginPath();
    context.rect(x + right * width - 4, y + down * height - 4, 8, 8);
    context.fill();
    context.stroke();
  }
}

export function drawRejected(context, { box, label }, view) {
  outlined(context, "#ffffff", 2, () => context.rect(...screenBox(view, box)), [7, 4]);
  drawName(context, { box, label, color: "#ffffff" }, view, true);
}

export function drawPolygon(context, { rings, corner }, view, color) {
  for (const ring of rings) {
    const points = ring.map((each) => toScreen(view, each));
    outlined(context, color, 2, () => {
      points.forEach(([x, y], at) => (at ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.closePath();
    });
  }
  context.lineWidth = 1;
  context.strokeStyle = "#000000";
  rings.forEach((ring, row) => ring.forEach((each, at) => {
    const [x, y] = toScreen(view, each);
    const chosen = corner?.ring === row && corner.at === at;
    const half = chosen ? 6 : 3.5;
    context.fillStyle = chosen ? ACCENT : "#ffffff";
    context.beginPath();
    context.rect(x - half, y - half, 2 * half, 2 * half);
    context.fill();
    context.stroke();
  }));
}

// A name is above its object, and below the names that were placed before.
export function drawName(context, object, view, bold, placed = []) {
  const size = 13;
  context.font = (bold ? "700 " : "600 ") + size + "px system-ui, sans-serif";
  const room = Math.max(60, Math.min(260, (object.box[2] - object.box[0]) * view.scale * 1.6));
  let text = object.label;
  while (text.length > 1 && context.measureText(text + "\u2026").width > room) text = text.slice(0, -1);
  if (text !== object.label) text += "\u2026";
  const width = context.measureText(text).width + size;
  const [x, y] = toScreen(view, object.box);
  const top = freeTop(placed, x, y >= 22 ? y - 21 : y, width);
  placed.push([x, top, width]);
  context.fillStyle = object.color;
  context.beginPath();
  context.roundRect(x, top, width, NAME_HEIGHT, 4);
  context.fill();
  context.fillStyle = textColorOn(object.color);
  context.textBaseline = "middle";
  context.fillText(text, x + size / 2, top + 11);
}

function freeTop(placed, x, top, width) {
  const taken = placed.find(([left, other, across]) => x < left + across && left < x + width && Math.abs(top - other) < NAME_HEIGHT);
  return taken && placed.length < 100 ? freeTop(placed.filter((each) => each !== taken), x, taken[1] + NAME_HEIGHT, width) : top;
}

const color = (inside) => (inside ? "#00c853" : "#ff1744");

export function drawPrompt(context, prompt, view, selected) {
  if (prompt.kind === "box") {
    const [left, top, right, bottom] = prompt.xyxy;
    const box = [Math.min(left, right), Math.min(top, bottom), Math.max(left, right), Math.max(top, bottom)];
    return outlined(context, "#ffffff", selected ? 2.5 : 1.5, () => context.rect(...screenBox(view, box)), [7, 4]);
  }
  if (prompt.kind === "stroke" || prompt.kind === "paint") return drawPath(context, prompt, view);
  const [x, y] = toScreen(view, prompt.at);
  const radius = selected ? 8 : 6;
  outlined(context, "#ffffff", 2, () => context.arc(x, y, radius, 0, 2 * Math.PI));
  context.fillStyle = color(prompt.inside);
  context.beginPath();
  context.arc(x, y, radius - 1, 0, 2 * Math.PI);
  context.fill();
  context.strokeStyle = "#ffffff";
  context.lineWidth = 2;
  context.beginPath();
  context.moveTo(x - 3, y);
  context.lineTo(x + 3, y);
  if (prompt.inside) { context.moveTo(x, y - 3); context.lineTo(x, y + 3); }
  context.stroke();
}

function drawPath(context, prompt, view) {
  const points = prompt.path.map((each) => toScreen(view, each));
  context.lineCap = context.lineJoin = "round";
  context.globalAlpha = prompt.kind === "paint" ? 0.6 : 1;
  const width = prompt.kind === "paint" ? 2 * prompt.radius * view.scale : 4;
  const line = () => {
    context.moveTo(...points[0]);
    for (const each of points.length > 1 ? points.slice(1) : points) context.lineTo(each[0] + 0.01, each[1]);
  };
  if (prompt.kind === "paint") {
    context.lineWidth = width;
    context.strokeStyle = color(prompt.inside);
    context.beginPath();
    line();
    context.stroke();
  } else outlined(context, color(prompt.inside), width, line);
  context.globalAlpha = 1;
}

export function drawCircle(context, [x, y], radius) {
  outlined(context, "#ffffff", 1.5, () => context.arc(x, y, radius, 0, 2 * Math.PI));
}

export function drawCrosshair(context, at, view) {
  const [x, y] = toScreen(view, at);
  outlined(context, "#ffffff", 1.5, () => {
    for (const [right, down] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + 4 * right, y + 4 * down);
      context.lineTo(x + 14 * right, y + 14 * down);
    }
  });
}
