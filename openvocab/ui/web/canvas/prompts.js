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
