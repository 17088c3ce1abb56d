// Where the page is: `#/version/sst2%403?all=1` is {page: "version", item: "sst2@3", query}.
import { useEffect, useState } from "preact/hooks";
import { path } from "./api.js";

export function route() {
  const [before, after] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [page, ...rest] = before.split("/");
  return { page: page || "versions", item: decode(rest.join("/")), query: new URLSearchParams(after ?? "") };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // not written by us
  }
}

export function link(page, item, parameters) {
  return path(`#/${page}${item === undefined || item === null ? "" : `/${encodeURIComponent(item)}`}`, parameters);
}

export function go(address) {
  location.hash = address;
}

// Change some parameters of the present address, and draw anew; null removes one. Typing leaves no trail in the history.
export function setQuery(changes) {
  const { page, item, query } = route();
  const parameters = {};
  for (const name of new Set(query.keys())) parameters[name] = query.getAll(name);
  history.replaceState(null, "", link(page, item || null, { ...parameters, ...changes }));
  window.dispatchEvent(new HashChangeEvent("hashchange"));
}

export function useRoute() {
  const [current, setCurrent] = useState(route);
  useEffect(() => {
    const changed = () => setCurrent(route());
    window.addEventListener("hashchange", changed);
    return () => window.removeEventListener("hashchange", changed);
  }, []);
  return current;
}
