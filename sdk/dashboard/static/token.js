// The token that the calls of this tab are made with. It comes from the URL that `registry ui` prints, or is typed in.
const KEY = "pointsman.token";

export function storedToken() {
  return sessionStorage.getItem(KEY);
}

export function storeToken(token) {
  if (token) sessionStorage.setItem(KEY, token);
  else sessionStorage.removeItem(KEY);
}

// Take `#token=…` out of the address, so that it is neither kept in the history nor shared with a link.
export function takeTokenFromAddress() {
  const found = /^#token=([^&]+)/.exec(location.hash);
  if (!found) return;
  storeToken(decodeURIComponent(found[1]));
  history.replaceState(null, "", location.pathname + "#/versions");
}
