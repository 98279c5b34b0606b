// Lists of objects: {key, label, score, boxScore, tagScore, box: [left, top, right, bottom], mask, color}.

// The objects that are drawn. A threshold that a slider raised applies before the server has answered.
export function visible(objects, { hidden = new Set(), label = "", thresholds = {} } = {}) {
  return objects.filter(
    (each) => !hidden.has(each.key) && (!label || each.label === label) && (each.byHand || passes(each, thresholds)),
  );
}

export function passes(object, { box_threshold: box = 0, tag_threshold: tag = 0 }) {
  return object.boxScore >= box - 1e-6 && (object.tagScore === null || object.tagScore === undefined || object.tagScore >= tag - 1e-6);
}

// The labels in the order of their first object, each with its color and number of objects.
export function labelCounts(objects) {
  const counts = new Map();
  for (const each of objects) {
    const known = counts.get(each.label) || { label: each.label, color: each.color, count: 0 };
    counts.set(each.label, { ...known, count: known.count + 1 });
  }
  return [...counts.values()];
}

// The key of the row that is `by` rows after another one, around the end; without one, the first or the last.
export function keyAfter(rows, key, by) {
  if (!rows.length) return null;
  const at = rows.findIndex((each) => each.key === key);
  return rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : (at + by + rows.length) % rows.length].key;
}

// The keys 1 to 9 give these labels: the words first, then other labels of objects.
export function labelKeys(words, objects) {
  return [...new Set([...words, ...objects.map((each) => each.label)])].slice(0, 9);
}

export function splitWords(text) {
  const seen = new Map();
  for (const word of text.split(/[,;\n]/)) {
    const plain = word.trim().replace(/\s+/g, " ");
    if (plain && !seen.has(plain.toLowerCase())) seen.set(plain.toLowerCase(), plain);
  }
  return [...seen.values()];
}

const contains = ([left, top, right, bottom], [x, y]) => x >= left && x < right && y >= top && y < bottom;
const area = ([left, top, right, bottom]) => (right - left) * (bottom - top);

// The smallest object at a point; an object whose mask has the point comes before one whose box has it.
export function objectAt(objects, point, size, decoded) {
  const inBox = objects.filter((each) => contains(each.box, point)).sort((one, other) => area(one.box) - area(other.box));
  return inBox.find((each) => hasPoint(decoded(each), point, size)) || inBox[0] || null;
}

function hasPoint(mask, [x, y], size) {
  if (!mask) return false;
  const column = Math.floor((x / size.width) * mask.width);
  const row = Math.floor((y / size.height) * mask.height);
  return mask.bits[row * mask.width + column] === 1;
}

// The corner or edge of a box within reach of a point: "nw", "n", ..., "move" inside, or null.
export function handleAt([left, top, right, bottom], [x, y], reach) {
  if (x < left - reach || x > right + reach || y < top - reach || y > bottom + reach) return null;
  const vertical = Math.abs(y - top) <= reach ? "n" : Math.abs(y - bottom) <= reach ? "s" : "";
  const horizontal = Math.abs(x - left) <= reach ? "w" : Math.abs(x - right) <= reach ? "e" : "";
  return vertical + horizontal || "move";
}

// The box after a handle was dragged by [right, down], inside the image and with an area.
export function dragBox(box, handle, [right, down], { width, height }) {
  let [left, top, east, south] = box;
  if (handle === "move") {
    const x = Math.min(Math.max(right, -left), width - east);
    const y = Math.min(Math.max(down, -top), height - south);
    return [left + x, top + y, east + x, south + y];
  }
  if (handle.includes("w")) left = Math.min(Math.max(left + right, 0), east - 1);
  if (handle.includes("e")) east = Math.max(Math.min(east + right, width), left + 1);
  if (handle.includes("n")) top = Math.min(Math.max(top + down, 0), south - 1);
  if (handle.includes("s")) south = Math.max(Math.min(south + down, height), top + 1);
  return [left, top, east, south];
}
