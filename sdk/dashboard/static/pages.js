// Every page by the first word of its address, and the entries of the navigation.
import { AdapterPage } from "./pages/adapter.js";
import { ChartsPage } from "./pages/charts.js";
import { ComparePage } from "./pages/compare.js";
import { GluePage } from "./pages/glue.js";
import { LogPage } from "./pages/log.js";
import { RunPage } from "./pages/run.js";
import { RunsPage } from "./pages/runs.js";
import { ServingPage } from "./pages/serving.js";
import { TryPage } from "./pages/try.js";
import { VersionPage } from "./pages/version.js";
import { VersionsPage } from "./pages/versions.js";

export const PAGES = {
  versions: { view: VersionsPage, title: () => "Versions" },
  version: { view: VersionPage, title: (ref) => ref },
  adapter: { view: AdapterPage, title: (name) => name },
  runs: { view: RunsPage, title: () => "Runs" },
  run: { view: RunPage, title: (uid) => `Run ${uid}` },
  charts: { view: ChartsPage, title: () => "Charts" },
  compare: { view: ComparePage, title: () => "Compare" },
  glue: { view: GluePage, title: () => "GLUE" },
  serving: { view: ServingPage, title: () => "Serving" },
  try: { view: TryPage, title: () => "Try it" },
  log: { view: LogPage, title: () => "Log" },
};

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
