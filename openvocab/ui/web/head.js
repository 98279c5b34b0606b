// Light or dark as last chosen here, before anything is painted; where nothing was chosen, as the system says.
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem("openvocab-theme"); } catch (error) { chosen = null; }
  const asked = new URLSearchParams(location.search).get("__theme");
  if (asked === "light" || asked === "dark") chosen = asked;
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const apply = () => document.body && document.body.classList.toggle("dark", dark);
  if (document.body) apply(); else document.addEventListener("DOMContentLoaded", apply);
})();
