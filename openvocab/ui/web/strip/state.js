// What the strip computes: the URL of an image, keys, and the status after an edit.

const NAME = "image";

export const keyOf = (url) => new URL(url).searchParams.get(NAME) || "";

export function urlWith(url, key) {
  const made = new URL(url);
  made.searchParams.set(NAME, key);
  return made.href;
}

export function stepOf({ key, ctrlKey, metaKey, altKey }) {
  if (ctrlKey || metaKey || altKey) return null;
  return { a: "previous", d: "next", r: "review" }[key.toLowerCase()] || null;
}

// The value with the status that the open image has with this number of edits; a reviewed image stays reviewed.
export function adjusted(value, edits) {
  const open = value.images.find((each) => each.key === value.at);
  if (!open || open.status === "reviewed") return value;
  const status = edits ? "corrected" : open.status === "corrected" ? "answered" : open.status;
  if (status === open.status) return value;
  const counts = { ...value.counts, [open.status]: value.counts[open.status] - 1, [status]: (value.counts[status] || 0) + 1 };
  return { ...value, unsaved: value.unsaved || (value.upload && status === "corrected"), counts, images: value.images.map((each) => (each === open ? { ...each, status } : each)) };
}

// The value with the status of images that the server told; another folder's changes nothing.
export function merged(value, { images, counts, unsaved }) {
  const told = new Map(images.map((each) => [each.key, each.status]));
  if (!value.images?.some((each) => told.has(each.key))) return value;
  return { ...value, counts, unsaved, images: value.images.map((each) => ({ ...each, status: told.get(each.key) ?? each.status })) };
}

// The key of the image that an action of the strip opens; null if it stays, or is not among the thumbnails.
export function targetOf({ images, at }, action) {
  if (action.do === "open") return action.key || null;
  const row = images.findIndex((each) => each.key === at);
  const stays = action.do === "order" || (action.do === "review" && images[row]?.status === "reviewed");
  return stays || row < 0 ? null : (images[row + (action.do === "previous" ? -1 : 1)]?.key ?? null);
}
