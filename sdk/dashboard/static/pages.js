// Every page by the first word of its address, and the entries of the navigation. A page is loaded when it is opened, so
// that the first one is there without the others.
import { useEffect, useState } from "preact/hooks";

const PAGES = {
  versions: { load: () => import("./pages/versions.js"), view: "VersionsPage", title: () => "Versions" },
  version: { load: () => import("./pages/version.js"), view: "VersionPage", title: (ref) => ref },
  adapter: { load: () => import("./pages/adapter.js"), view: "AdapterPage", title: (name) => name },
  runs: { load: () => import("./pages/runs.js"), view: "RunsPage", title: () => "Runs" },
  run: { load: () => import("./pages/run.js"), view: "RunPage", title: (uid) => `Run ${uid}` },
  charts: { load: () => import("./pages/charts.js"), view: "ChartsPage", title: () => "Charts" },
  compare: { load: () => import("./pages/compare.js"), view: "ComparePage", title: () => "Compare" },
  glue: { load: () => import("./pages/glue.js"), view: "GluePage", title: () => "GLUE" },
  serving: { load: () => import("./pages/serving.js"), view: "ServingPage", title: () => "Serving" },
  try: { load: () => import("./pages/try.js"), view: "TryPage", title: () => "Try it" },
  log: { load: () => import("./pages/log.js"), view: "LogPage", title: () => "Log" },
};

// The page of a name: {isKnown, View, error, title}; `View` is null until it is loaded, and `error` says why it was not.
export function usePage(name) {
  const page = Object.hasOwn(PAGES, name) ? PAGES[name] : null;
  const [loaded, setLoaded] = useState({ name: null, View: null, error: null });
  useEffect(() => {
    let isLeft = false;
    const error = new Error("this page did not load: the server does not answer; is it still running?");
    page?.load().then(
      (module) => isLeft || setLoaded({ name, View: module[page.view], error: null }),
      () => isLeft || setLoaded({ name, View: null, error }),
    );
    return () => (isLeft = true);
  }, [name]);
  const { View, error } = loaded.name === name ? loaded : { View: null, error: null };
  return { isKnown: Boolean(page), View, error, title: page?.title ?? (() => "Not found") };
}

// `served`: only where predictions are served, too. `pages`: those that an entry stands for.
export const SECTIONS = [
  { name: "versions", label: "Versions", pages: ["versions", "version", "adapter"] },
  { name: "runs", label: "Runs", pages: ["runs", "run"] },
  { name: "charts", label: "Charts", pages: ["charts"] },
  { name: "compare", label: "Compare", pages: ["compare"] },
  { name: "glue", label: "GLUE", pages: ["glue"] },
  { name: "serving", label: "Serving", pages: ["serving"], served: true },
  { name: "try", label: "Try it", pages: ["try"], served: true },
  { name: "log", label: "Log", pages: ["log"] },
];
