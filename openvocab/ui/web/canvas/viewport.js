// Zoom and pan: {scale, x, y} maps image pixels to screen pixels, screen = image * scale + offset.

export const MAX_SCALE = 32;

// The whole image, centered; a small image is enlarged.
export function fit(image, screen) {
  const scale = Math.min(screen.width / image.width, screen.height / image.height) || 1;
  return centered(image, screen, scale);
}

export function centered(image, screen, scale) {
  return { scale, x: (screen.width - image.width * scale) / 2, y: (screen.height - image.height * scale) / 2 };
}

export const toScreen = (view, [x, y]) => [x * view.scale + view.x, y * view.scale + view.y];
export const toImage = (view, [x, y]) => [(x - view.x) / view.scale, (y - view.y) / view.scale];

// Zoom by a factor so that the image point under `at` stays there.
export function zoomAt(view, at, factor, image, screen) {
  const smallest = Math.min(fit(image, screen).scale, 1) / 2;
  const scale = Math.min(Math.max(view.scale * factor, smallest), MAX_SCALE);
  const [x, y] = toImage(view, at);
  return bounded({ scale, x: at[0] - x * scale, y: at[1] - y * scale }, image, screen);
}

export const pan = (view, right, down, image, screen) =>
  bounded({ ...view, x: view.x + right, y: view.y + down }, image, screen);

const middle = ([one, other]) => [(one[0] + other[0]) / 2, (one[1] + other[1]) / 2];
const distance = ([one, other]) => Math.max(Math.hypot(one[0] - other[0], one[1] - other[1]), 1);

// The view after two fingers moved on the screen: zoomed by their distance, and moved with the point between them.
export function pinched(view, before, after, image, screen) {
  const [from, to] = [middle(before), middle(after)];
  return pan(zoomAt(view, from, distance(after) / distance(before), image, screen), to[0] - from[0], to[1] - from[1], image, screen);
}

// The view that has an image point at least 24 screen pixels from its edges.
export function revealed(view, point, screen) {
  const [x, y] = toScreen(view, point);
  const into = (at, room) => Math.max(24 - at, 0) + Math.min(room - 24 - at, 0);
  return { ...view, x: view.x + into(x, screen.width), y: view.y + into(y, screen.height) };
}

// Keep at least 40 screen pixels of the image visible.
export function bounded(view, image, screen) {
  const inside = (offset, length, room) => Math.min(Math.max(offset, 40 - length), room - 40);
  return {
    ...view,
    x: inside(view.x, image.width * view.scale, screen.width),
    y: inside(view.y, image.height * view.scale, screen.height),
  };
}
