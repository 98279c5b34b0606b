// Sets the theme before the first paint: the last choice in this browser, else the system preference.
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem("openvocab-theme"); } catch (error) { chosen = null; }
  const requested = new URLSearchParams(location.search).get("__theme");
  if (requested === "light" || requested === "dark") chosen = requested;
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const apply = () => document.body && document.body.classList.toggle("dark", dark);
  if (document.body) apply(); else document.addEventListener("DOMContentLoaded", apply);
})();

// Gradio's list of files has a button inside a button, with a key for its name: the outer one alone becomes the control.
new MutationObserver(() => {
  for (const inner of document.querySelectorAll("button button.upload-container:not([inert])")) {
    inner.inert = true;
    Object.assign(inner.parentElement.closest("button"), { ariaLabel: texts.addFiles, title: texts.addFiles });
  }
}).observe(document, { childList: true, subtree: true });
document.addEventListener("click", (event) => {
  event.target.closest?.("button")?.querySelector("button.upload-container[inert] input[type=file]")?.click();
}, { capture: true });
