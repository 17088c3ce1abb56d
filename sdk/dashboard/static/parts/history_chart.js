// The histories of several runs or versions in one chart. A zoom asks the server for the points of its window, so that ten
// million points are drawn as fast as a thousand, and are all there.
import { useMemo, useState } from "preact/hooks";
import { formatCount } from "../format.js";
import { html } from "../html.js";
import { readHistory } from "../series.js";
import { useLive } from "../use_api.js";
import { ChartView, extent, moveView } from "./chart_view.js";
import { ErrorBox } from "./common.js";
import { Legend } from "./legend.js";

const POINTS = 1000;

// `series`: [{id, label, of, metric, href}]. What cannot be read is named, and the others are drawn.
export function HistoryChart({ series, label, live = false, smoothing = 0, isLog = false, height, isBrief = false }) {
  const [view, setView] = useState(null);
  const [hidden, setHidden] = useState([]);
  const [cursor, setCursor] = useState(null);
  const [read, setRead] = useState({ whole: {}, detail: {}, view: null, errors: [], isRead: false, wasLive: false });
  const key = series.map(({ id }) => id).join("\n");

  const ask = async (signal) => {
    const errors = [];
    const each = async (one, window) => {
      try {
        return [one.id, await readHistory(one, window, POINTS, signal)];
      } catch (error) {
        if (error.name !== "AbortError") errors.push(error);
        return [one.id, null];
      }
    };
    const needed = live || read.wasLive ? series : series.filter(({ id }) => !read.whole[id]);
    const whole = { ...read.whole, ...Object.fromEntries(await Promise.all(needed.map((one) => each(one, null)))) };
    const thinned = view ? series.filter(({ id }) => whole[id] && !whole[id].isWhole) : [];
    const detail = Object.fromEntries(await Promise.all(thinned.map((one) => each(one, widened(view)))));
    if (!signal.aborted) setRead({ whole, detail, view, errors, isRead: true, wasLive: live });
  };
  useLive(ask, live, [key, view?.[0], view?.[1]]);

  const lines = useMemo(
    () =>
      series
        .map(({ id, label: name, href }) => {
          const whole = read.whole[id];
          const shown = (read.view && read.detail[id]) || whole;
          return whole && { ...shown, id, label: name, href, whole, first: whole.first_step, last: whole.last_step };
        })
        .filter(Boolean),
    [key, read],
  );
  const toggle = (id) => setHidden(hidden.includes(id) ? hidden.filter((each) => each !== id) : [...hidden, id]);
  const press = (pressed) => () => setView(moveView(pressed, view ?? extent(lines), extent(lines)));
  if (!read.isRead) return html`<div class="chart-wait" style=${{ height: `${height ?? 260}px` }} role="status">Reading ${label} …</div>`;
  return html`
    ${read.errors.map((error) => html`<${ErrorBox} key=${error.message} error=${error} />`)}
    ${lines.length > 0 &&
    html`
      <figure class="history">
        <${ChartView} ...${{ lines, hidden, smoothing, isLog, view, height, label }} onView=${setView} onCursor=${setCursor} />
        <figcaption>
          <span class="faint" role="status" data-points>${said(lines, read.view, view)}</span>
          <span class="zoom" role="group" aria-label="Zoom">
            <button type="button" class="quiet" onClick=${press("+")} aria-label="Zoom in">+</button>
            <button type="button" class="quiet" onClick=${press("-")} aria-label="Zoom out" disabled=${!view}>−</button>
            <button type="button" class="quiet" onClick=${press("ArrowLeft")} aria-label="Earlier" disabled=${!view}>◀</button>
            <button type="button" class="quiet" onClick=${press("ArrowRight")} aria-label="Later" disabled=${!view}>▶</button>
            <button type="button" class="quiet" onClick=${press("0")} disabled=${!view}>All</button>
          </span>
        </figcaption>
        <${Legend} lines=${lines} hidden=${hidden} cursor=${cursor} onToggle=${toggle} isBrief=${isBrief} />
      </figure>
    `}
  `;
}

// Half a window more on either side, so that lines go on to the edge, and a smoothed one has what came before.
const widened = ([first, last]) => [first - (last - first) / 2, last + (last - first) / 2];

function said(lines, readView, view) {
  const total = lines.reduce((sum, line) => sum + line.whole.total, 0);
  if (readView?.[0] !== view?.[0] || readView?.[1] !== view?.[1]) return "reading more points …";
  const shown = view
    ? lines.reduce((sum, { steps }) => sum + steps.filter((step) => step >= view[0] && step <= view[1]).length, 0)
    : lines.reduce((sum, { steps }) => sum + steps.length, 0);
  const where = view ? ` in steps ${formatCount(Math.ceil(view[0]))} to ${formatCount(Math.floor(view[1]))}` : "";
  const hint = !view && shown < total ? "; drag over a part to see more of it" : "";
  return `${formatCount(shown)} of ${formatCount(total)} points${where}${hint}`;
}
