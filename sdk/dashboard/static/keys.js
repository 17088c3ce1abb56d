// Keys of every page: / goes to the search, arrows go through the rows of a table, Enter opens one, Esc leaves a field.
import { useEffect } from "preact/hooks";

const FIELDS = "input, textarea, select, [contenteditable]";

export function useKeys() {
  useEffect(() => {
    document.addEventListener("keydown", pressed);
    return () => document.removeEventListener("keydown", pressed);
  }, []);
}

function pressed(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  const isInField = event.target.matches?.(FIELDS);
  if (event.key === "Escape" && isInField) event.target.blur();
  else if (event.key === "/" && !isInField) focusSearch(event);
  else if (!isInField || event.target.type === "checkbox") moveInRows(event);
}

function focusSearch(event) {
  const search = document.querySelector("[data-search]");
  if (!search) return;
  event.preventDefault();
  search.focus();
  search.select?.();
}

// The rows that can be opened have a link that says so; it has the focus, and Enter follows it by itself.
function moveInRows(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || event.target.closest?.("[data-own-keys]")) return;
  const links = [...document.querySelectorAll("main [data-row]")];
  if (!links.length) return;
  const row = event.target.closest?.("tr");
  const at = links.findIndex((each) => each === event.target || (row && row.contains(each)));
  const next = links[Math.min(links.length - 1, Math.max(0, at + step))];
  event.preventDefault();
  next.focus();
  next.scrollIntoView({ block: "nearest" });
}
