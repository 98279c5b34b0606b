// Polygons: rings of corners [x, y] in pixels of the image; a ring inside another one is a hole. Every change returns new rings.

const squared = ([x, y], [right, down]) => (x - right) ** 2 + (y - down) ** 2;

// The corner {ring, at} that is nearest to a point within reach, or null.
export function cornerAt(rings, point, reach) {
  let best = null;
  let nearest = reach * reach;
  rings.forEach((corners, ring) => corners.forEach((corner, at) => {
    const distance = squared(corner, point);
    if (distance <= nearest) [best, nearest] = [{ ring, at }, distance];
  }));
  return best;
}

// The place {ring, at, point} on the edge that is nearest to a point within reach, or null; the edge ends before corner `at`.
export function edgeAt(rings, point, reach) {
  let best = null;
  let nearest = reach * reach;
  rings.forEach((corners, ring) => corners.forEach((start, row) => {
    const foot = footOn(start, corners[(row + 1) % corners.length], point);
    const distance = squared(foot, point);
    if (distance <= nearest) [best, nearest] = [{ ring, at: row + 1, point: foot }, distance];
  }));
  return best;
}

function footOn(start, end, [x, y]) {
  const [right, down] = [end[0] - start[0], end[1] - start[1]];
  const length = right * right + down * down;
  const share = length ? Math.min(Math.max(((x - start[0]) * right + (y - start[1]) * down) / length, 0), 1) : 0;
  return [start[0] + share * right, start[1] + share * down];
}

const changed = (rings, ring, corners) => rings.map((each, row) => (row === ring ? corners : each));

export const moved = (rings, { ring, at }, to) => changed(rings, ring, rings[ring].map((each, row) => (row === at ? to : each)));

export const inserted = (rings, { ring, at, point }) => changed(rings, ring, rings[ring].toSpliced(at, 0, point));

// Without a corner; a ring of three goes as a whole, and the last ring of all stays: null.
export function removed(rings, { ring, at }) {
  if (rings[ring].length > 3) return changed(rings, ring, rings[ring].toSpliced(at, 1));
  return rings.length > 1 ? rings.toSpliced(ring, 1) : null;
}

// The corner that is `by` corners after another, over all rings.
export function stepped(rings, corner, by) {
  const all = rings.flatMap((corners, ring) => corners.map((_, at) => ({ ring, at })));
  const row = corner ? all.findIndex((each) => each.ring === corner.ring && each.at === corner.at) : by > 0 ? -1 : 0;
  return all[(row + by + all.length) % all.length];
}

// The middle of the edge after a corner, as edgeAt returns it.
export function middleAfter(rings, { ring, at }) {
  const [start, end] = [rings[ring][at], rings[ring][(at + 1) % rings[ring].length]];
  return { ring, at: at + 1, point: [(start[0] + end[0]) / 2, (start[1] + end[1]) / 2] };
}
