// Prompts on the image, in its pixels: {kind: "point", at, inside}, {kind: "stroke", path, inside}, {kind: "box", xyxy}.

const distance = ([x, y], [right, down]) => Math.hypot(x - right, y - down);

const marksOf = (prompt) =>
  prompt.kind === "point" ? [prompt.at] : prompt.kind === "stroke" ? prompt.path : [prompt.xyxy.slice(0, 2), prompt.xyxy.slice(2)];

// The latest prompt within reach of a point; of a box, its corners count.
export function promptAt(prompts, point, reach) {
  return [...prompts].reverse().find((prompt) => marksOf(prompt).some((each) => distance(each, point) < reach)) || null;
}

// The box between two corners; null without an area.
export function boxBetween(from, to) {
  const [left, right] = [from[0], to[0]].sort((one, other) => one - other);
  const [top, bottom] = [from[1], to[1]].sort((one, other) => one - other);
  return right > left && bottom > top ? { kind: "box", xyxy: [left, top, right, bottom] } : null;
}

// A second box replaces the first one.
export function withPrompt(prompts, prompt) {
  return [...(prompt.kind === "box" ? prompts.filter((each) => each.kind !== "box") : prompts), prompt];
}

// What a drag draws with a tool; radius is that of the brush.
export function shapeOf(tool, { path, inside, from, to, primary }, radius) {
  if (tool === "brush" || tool === "eraser") return { kind: "paint", path, inside: tool === "brush", radius };
  if (tool === "stroke" || !primary) return { kind: "stroke", path, inside };
  return { kind: "box", xyxy: [...from, ...to] };
}

// Map prompts, and what is being drawn, to an image of another size, in place: history and selection hold the same prompts.
export function rescale(state, [right, down]) {
  const point = (each) => each && [each[0] * right, each[1] * down];
  const { prompts, history, undone, drag } = state;
  for (const each of new Set([prompts, ...history, ...undone].flat())) {
    if (each.kind === "point") each.at = point(each.at);
    else if (each.kind === "stroke") each.path = each.path.map(point);
    else each.xyxy = [...point(each.xyxy.slice(0, 2)), ...point(each.xyxy.slice(2))];
  }
  if (drag) Object.assign(drag, { from: point(drag.from), to: point(drag.to), path: drag.path.map(point), shape: null });
  return Object.assign(state, { crosshair: point(state.crosshair), corner: point(state.corner) });
}
