// Which command a key gives.

const COMMANDS = {
  u: "undo",
  y: "redo",
  delete: "remove",
  backspace: "remove",
  n: "next",
  x: "switchInside",
  b: "corner",
  v: "select",
  p: "point",
  m: "brush",
  e: "eraser",
  g: "polygon",
  s: "panel",
  l: "labels",
  i: "insertCorner",
  ".": "nextCorner",
  ",": "previousCorner",
  h: "hide",
  j: "rejected",
  k: "restore",
  f: "fit",
  o: "actual",
  "+": "zoomIn",
  "=": "zoomIn",
  "-": "zoomOut",
  "}": "nextObject",
  "{": "previousObject",
  "]": "nextOrLarger",
  "[": "previousOrSmaller",
  escape: "escape",
};

// The name of a command, or null; number keys give "number", and on the canvas arrows give "arrow", Enter "accept", space "mark".
export function commandOf({ key, ctrlKey, metaKey, altKey, shiftKey }, onCanvas) {
  if (altKey) return null;
  const plain = key.toLowerCase();
  if (ctrlKey || metaKey) {
    if (plain === "z") return shiftKey ? "redo" : "undo";
    return plain === "y" ? "redo" : null;
  }
  if (onCanvas && key.startsWith("Arrow")) return "arrow";
  if (onCanvas && (key === "Enter" || key === " ")) return key === "Enter" ? "accept" : "mark";
  return /^[1-9]$/.test(key) ? "number" : COMMANDS[plain] || null;
}

// How far an arrow key goes along a group, or along an axis: [right, down].
export const stepOf = (key) => ({ ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 })[key] || 0;
export const directionOf = (key) => ({ ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] })[key];
