// The height of the image: as far as the lower edge of the window, so that all of it is visible without scrolling.

const BELOW = 40; // screen pixels below the image, for the status line
const MIN_HEIGHT = 340;
const NARROW = 700; // a window as wide as a phone shows the image below the words, in its own shape

// Everything in screen pixels but the image's size; top is the distance from the top of the page.
export function heightOf({ top, width, window: { width: across, height }, image }) {
  if (across > NARROW) return Math.max(MIN_HEIGHT, Math.floor(height - top - BELOW));
  const shape = image.width ? image.height / image.width : 0.75;
  return Math.round(Math.min(Math.max(width * shape, 200), 0.62 * height));
}

export function keepHeight(app) {
  const stage = app.find(".cv-stage");
  app.fitHeight = () => {
    const { top, width } = stage.getBoundingClientRect();
    if (!width) return; // the tab is not shown
    const size = { top: top + window.scrollY, width, window: { width: window.innerWidth, height: window.innerHeight } };
    stage.style.setProperty("--cv-room", heightOf({ ...size, image: app.state }) + "px");
  };
  new ResizeObserver(app.fitHeight).observe(document.body);
  window.addEventListener("resize", app.fitHeight);
}
