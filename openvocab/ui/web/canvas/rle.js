// COCO run-length encoding: masks as text, decoded in the browser.

// Lengths of the runs of a compressed encoding; the first run is background. Runs go down the columns.
export function runLengths(counts) {
  const runs = [];
  for (let at = 0; at < counts.length; ) {
    let value = 0;
    let shift = 0;
    let code;
    do {
      code = counts.charCodeAt(at++) - 48;
      value |= (code & 31) << shift;
      shift += 5;
    } while (code & 32);
    if (code & 16) value |= -1 << shift;
    if (runs.length > 2) value += runs[runs.length - 2];
    runs.push(value);
  }
  return runs;
}

// The mask as {width, height, bits}: bits has one byte per pixel, row by row.
export function decodeMask({ size: [height, width], counts }) {
  const bits = new Uint8Array(width * height);
  let at = 0;
  runLengths(counts).forEach((length, row) => {
    if (row % 2) {
      for (let pixel = at; pixel < at + length; pixel++) bits[(pixel % height) * width + Math.floor(pixel / height)] = 1;
    }
    at += length;
  });
  return { width, height, bits };
}

// Whether a pixel of a mask has a neighbor outside the mask, up to `reach` pixels away in each direction.
export function isEdge({ width, height, bits }, x, y, reach) {
  for (const [right, down] of [[reach, 0], [-reach, 0], [0, reach], [0, -reach]]) {
    const column = x + right;
    const row = y + down;
    if (column < 0 || row < 0 || column >= width || row >= height || !bits[row * width + column]) return true;
  }
  return false;
}

// RGBA pixels of a part of a mask: its area in a color, or only the edge of `reach` pixels.
// part is [left, top, right, bottom] in whole pixels, color is [red, green, blue].
export function pixelsOf(mask, [left, top, right, bottom], color, reach = 0) {
  const width = right - left;
  const pixels = new Uint8ClampedArray(width * (bottom - top) * 4);
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      if (!mask.bits[y * mask.width + x] || (reach && !isEdge(mask, x, y, reach))) continue;
      const at = ((y - top) * width + x - left) * 4;
      pixels[at] = color[0];
      pixels[at + 1] = color[1];
      pixels[at + 2] = color[2];
      pixels[at + 3] = 255;
    }
  }
  return pixels;
}

// The part of a mask that a box covers. box is in pixels of an image of `size`.
export function partOf(mask, [left, top, right, bottom], size) {
  const across = mask.width / size.width;
  const down = mask.height / size.height;
  const low = [Math.floor(left * across) - 1, Math.floor(top * down) - 1].map((each) => Math.max(each, 0));
  return [...low, Math.min(Math.ceil(right * across) + 1, mask.width), Math.min(Math.ceil(bottom * down) + 1, mask.height)];
}
