// The brush and the eraser: their size, and strokes on the mask of the selected object.

import { text } from "./strings.js";

const SMALLEST = 2; // diameters in screen pixels
const LARGEST = 160;

export const paints = (tool) => tool === "brush" || tool === "eraser";

// The next larger (by > 0) or smaller diameter: a quarter more or less, and even as those of the slider.
export function nextSize(size, by) {
  const next = by > 0 ? Math.max(size + 2, size * 1.25) : Math.min(size - 2, size / 1.25);
  return Math.min(Math.max(2 * Math.round(next / 2), SMALLEST), LARGEST);
}

export function setSize(app, size) {
  app.state.radius = size / 2;
  app.find("[data-size]").value = String(size);
  app.find(".cv-size output").textContent = text.pixels(size);
  app.draw();
}

export function stepSize(app, by) {
  const size = nextSize(2 * app.state.radius, by);
  setSize(app, size);
  app.say(text.brushSize(size));
}

// The slider is there as long as the tool paints.
export function showSize(app) {
  app.find(".cv-size").hidden = !paints(app.state.tool);
}

export function paint(app, path) {
  const { selected, locked, tool, radius, view } = app.state;
  if (selected === null) return app.say(text.selectFirst);
  if (locked.has(selected)) return app.say(text.locked, true);
  app.send({ do: "paint", key: selected, path, inside: tool === "brush", radius: radius / view.scale });
}

// Where the circle of the brush is, in screen pixels: under the pointer, else at the crosshair of the keyboard.
export function brushAt({ tool, pointer, crosshair, view }) {
  if (!paints(tool)) return null;
  return pointer || (crosshair && [crosshair[0] * view.scale + view.x, crosshair[1] * view.scale + view.y]);
}
