// The room for the image: as far as the lower edge of the window, so that it is visible without scrolling, with the tools
// in as many columns as that height needs, and without the panel if a person hides it.

const BELOW = 40; // screen pixels below the image, for the status line
const MIN_HEIGHT = 280;
const NARROW = 700; // a window as wide as a phone shows the image below the words, in its own shape
const TOOLS = [626, 412]; // height of the tools in one column, and in two
const STORED = "openvocab-panel";

// Everything in screen pixels but the image's size; top is the distance from the top of the page.
export function heightOf({ top, width, window: { width: across, height }, image }) {
  if (across > NARROW) return Math.max(MIN_HEIGHT, Math.floor(height - top - BELOW));
  const shape = image.width ? image.height / image.width : 0.75;
  return Math.round(Math.min(Math.max(width * shape, 200), 0.62 * height));
}

// The number of columns in which the tools end in the window, up to three; on a phone they are a line below the image.
export const columnsOf = ({ top, window: { width, height } }) => (width > NARROW ? 1 + TOOLS.filter((each) => each > height - top).length : 1);

export function keepRoom(app) {
  const stage = app.find(".cv-stage");
  app.fitHeight = () => {
    const { top, width } = stage.getBoundingClientRect();
    if (!width) return; // the tab is not shown
    const size = { top: top + window.scrollY, width, window: { width: window.innerWidth, height: window.innerHeight } };
    stage.style.setProperty("--cv-room", heightOf({ ...size, image: app.state }) + "px");
    app.root.dataset.columns = String(columnsOf(size));
  };
  new ResizeObserver(app.fitHeight).observe(document.body);
  window.addEventListener("resize", app.fitHeight);
  showPanel(app, stored() !== "closed");
}

// --- the panel

function stored() {
  try { return localStorage.getItem(STORED); } catch (error) { return null; }
}

function store(value) {
  try { localStorage.setItem(STORED, value); } catch (error) { return; }
}

// The focus goes from a panel that is hidden to the button that brings it back.
export function togglePanel(app) {
  const shown = app.root.dataset.panel === "closed";
  const had = app.find(".cv-side").contains(document.activeElement);
  showPanel(app, shown);
  store(shown ? "open" : "closed");
  if (had && !shown) app.find("[data-do=panel]").focus({ preventScroll: true });
}

function showPanel(app, shown) {
  app.root.dataset.panel = shown ? "open" : "closed";
  app.find("[data-do=panel]").setAttribute("aria-expanded", String(shown));
  app.fitHeight();
}
