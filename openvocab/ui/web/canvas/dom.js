// Nodes whose text is always text: no label or file name is interpreted as markup.

export function node(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

export function swatch(color) {
  const made = node("span", { class: color ? "cv-chip" : "cv-chip cv-hollow", "aria-hidden": "true" });
  if (color) made.style.background = color;
  return made;
}

export function load(source) {
  return new Promise((resolve) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => resolve(null);
    image.src = source;
  });
}

export const channels = (color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));

// Black or white, whichever has more contrast with a color such as "#0072B2".
export function textColorOn(color) {
  const [red, green, blue] = channels(color).map((each) => (each / 255) ** 2.2);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 ? "#000000" : "#ffffff";
}
