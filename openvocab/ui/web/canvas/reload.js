// The image that is open in a tab comes again after a reload: the tab remembers the token under which the server holds it.
// An image of a folder has its place in the URL instead.

const NAME = "openvocab-image";

export function remember(token, storage = sessionStorage) {
  try {
    if (token) storage.setItem(NAME, token);
    else storage.removeItem(NAME);
  } catch {
    // a browser without storage forgets the image
  }
}

export function reopen({ trigger }, storage = sessionStorage, url = location.href) {
  let token = null;
  try {
    token = storage.getItem(NAME);
  } catch {
    return;
  }
  if (token && !new URL(url).searchParams.has("image")) trigger("reopen", { token });
}
