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
