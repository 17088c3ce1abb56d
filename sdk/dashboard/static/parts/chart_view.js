// A chart of lines over steps. It draws what it is given; who owns the data decides what a zoom shows.
import uPlot from "uplot";
import { useEffect, useRef, useState } from "preact/hooks";
import { formatTick } from "../format.js";
import { html } from "../html.js";
import { colour, lineStyle } from "../palette.js";
import { columns, marks } from "../series.js";

const FONT = "12px system-ui, sans-serif";

// `lines`: [{label, steps, values}]. `view`: the window [first, last] of steps, or null for all; `onView` gets another.
// `onCursor` gets the step under the pointer, or null.
export function ChartView({ lines, hidden = [], smoothing = 0, isLog = false, view, onView, onCursor, height = 260, label, xLabel = "step" }) {
  const place = useRef(null);
  const chart = useRef(null);
  const now = useRef({});
  now.current = { lines, hidden, view, onView, onCursor };
  const [theme, setTheme] = useState(0);
  useEffect(() => {
    const changed = () => setTheme((number) => number + 1);
    window.addEventListener("themechange", changed);
    return () => window.removeEventListener("themechange", changed);
  }, []);

  const shape = `${lines.length} ${isLog} ${smoothing > 0} ${theme} ${xLabel} ${height}`;
  useEffect(() => {
    const box = place.current;
    const options = optionsOf({ now, isLog, isSmooth: smoothing > 0, width: box.clientWidth, height, xLabel });
    const made = new uPlot(options, columns(lines, { smoothing, isLog }), box);
    chart.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: box.clientWidth, height }));
    observer.observe(box);
    return () => {
      observer.disconnect();
      made.destroy();
    };
  }, [shape]);

  useEffect(() => {
    chart.current.setData(columns(lines, { smoothing, isLog }), true);
  }, [shape, lines, smoothing, view?.[0], view?.[1]]);

  useEffect(() => {
    const each = smoothing > 0 ? 2 : 1;
    for (let index = 0; index < lines.length * each; index++) {
      chart.current.setSeries(index + 1, { show: !hidden.includes(lines[Math.floor(index / each)].id) });
    }
  }, [shape, hidden]);

  const pressed = (event) => {
    const moved = moveView(event.key, shownRange(chart.current), extent(lines));
    if (moved === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    onView(moved);
  };
  return html`
    <div
      class="chart"
      ref=${place}
      tabindex="0"
      role="img"
      aria-label=${`${label}. Keys: plus and minus zoom, arrows move, 0 shows all.`}
      data-own-keys
      onKeyDown=${pressed}
    ></div>
  `;
}

function shownRange(chart) {
  return [chart.scales.x.min, chart.scales.x.max];
}

export function extent(lines) {
  const all = lines.filter(({ steps }) => steps.length);
  if (!all.length) return [0, 1];
  return [Math.min(...all.map(({ first, steps }) => first ?? steps[0])), Math.max(...all.map(({ last, steps }) => last ?? steps.at(-1)))];
}

// The window after a key; null: all; undefined: another key.
export function moveView(key, [first, last], [least, most]) {
  const span = last - first;
  const shift = { ArrowLeft: -0.25, ArrowRight: 0.25 }[key];
  const scale = { "+": 0.5, "=": 0.5, "-": 2 }[key];
  if (key === "0" || key === "Escape") return null;
  if (shift) {
    const start = Math.max(least, Math.min(most - span, first + shift * span));
    return span >= most - least ? null : [start, start + span];
  }
  if (!scale) return undefined;
  const middle = (first + last) / 2;
  const half = Math.max(1, (span * scale) / 2);
  const zoomed = [Math.max(least, middle - half), Math.min(most, middle + half)];
  return zoomed[0] <= least && zoomed[1] >= most ? null : zoomed;
}

function optionsOf({ now, isLog, isSmooth, width, height, xLabel }) {
  const faint = colour("faint");
  const grid = { stroke: colour("grid"), width: 1 };
  const axis = { stroke: faint, font: FONT, labelFont: FONT, grid, ticks: { ...grid, size: 4 } };
  const texts = (_, splits) => splits.map(formatTick);
  const styles = now.current.lines.map((_, index) => lineStyle(index));
  const series = styles.flatMap(({ colour: stroke, dash }) => {
    const common = { stroke, dash: dash ?? undefined, points: { size: 5, show: isSparse } };
    const raw = { ...common, width: isSmooth ? 1 : 1.5, alpha: isSmooth ? 0.3 : 1 };
    return isSmooth ? [raw, { ...common, width: 2, points: { show: false } }] : [raw];
  });
  return {
    width,
    height,
    padding: [8, 16, 0, 0],
    legend: { show: false },
    series: [{}, ...series],
    scales: {
      x: { time: false, range: (_, least, most) => now.current.view ?? (least === most ? [least - 1, most + 1] : [least, most]) },
      y: { distr: isLog ? 3 : 1, range: (_, least, most) => rangeOfValues(least, most, isLog) },
    },
    axes: [
      { ...axis, label: xLabel, labelSize: 18, size: 34, incrs: WHOLE_STEPS, values: texts },
      { ...axis, size: 64, values: texts },
    ],
    cursor: {
      drag: { x: true, y: false, setScale: false },
      focus: { prox: -1 },
      bind: { dblclick: () => () => now.current.onView(null) },
    },
    hooks: {
      setSelect: [(chart) => select(chart, now.current.onView)],
      setCursor: [(chart) => now.current.onCursor?.(chart.cursor.idx === null ? null : chart.data[0][chart.cursor.idx])],
      draw: [(chart) => drawMarks(chart, now.current, styles)],
    },
  };
}

// Where no value can be drawn, there is an axis all the same: the marks of NaN and infinities stand beside it.
function rangeOfValues(least, most, isLog) {
  if (isLog) return least === null ? [1, 10] : uPlot.rangeLog(least, most, 10, false);
  return least === null ? [0, 1] : uPlot.rangeNum(least, most, 0.1, true);
}

const WHOLE_STEPS = [1, 2, 5].flatMap((digit) => Array.from({ length: 16 }, (_, power) => digit * 10 ** power)).sort((one, other) => one - other);

// Points as dots only where they are few.
const isSparse = (chart, _, first, last) => last - first < chart.bbox.width / devicePixelRatio / 24;

function select(chart, onView) {
  const { left, width } = chart.select;
  if (width < 4) return;
  const view = [chart.posToVal(left, "x"), chart.posToVal(left + width, "x")];
  chart.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  onView(view);
}

// NaN as a cross on the lower edge, below a dashed line; infinities as triangles on the edge that they lie beyond.
function drawMarks(chart, { lines, hidden }, styles) {
  const { ctx, bbox } = chart;
  const unit = devicePixelRatio;
  const bottom = bbox.top + bbox.height;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.lineWidth = 1.5 * unit;
  lines.forEach((line, index) => {
    if (hidden.includes(line.id)) return;
    ctx.strokeStyle = ctx.fillStyle = styles[index].colour;
    const { nan, above, below } = marks(line);
    const x = (step) => chart.valToPos(step, "x", true);
    for (const step of nan) cross(ctx, x(step), bottom - 7 * unit, bbox.top, 4 * unit);
    for (const step of above) triangle(ctx, x(step), bbox.top + 1, 6 * unit);
    for (const step of below) triangle(ctx, x(step), bottom - 1, -6 * unit);
  });
  ctx.restore();
}

function cross(ctx, x, y, top, size) {
  ctx.setLineDash([]);
  ctx.beginPath();
  ctx.moveTo(x - size, y - size);
  ctx.lineTo(x + size, y + size);
  ctx.moveTo(x - size, y + size);
  ctx.lineTo(x + size, y - size);
  ctx.stroke();
  ctx.setLineDash([2, 4]);
  ctx.beginPath();
  ctx.moveTo(x, y - size);
  ctx.lineTo(x, top);
  ctx.stroke();
}

function triangle(ctx, x, y, size) {
  ctx.beginPath();
  ctx.moveTo(x, y);
  ctx.lineTo(x - size, y + size);
  ctx.lineTo(x + size, y + size);
  ctx.fill();
}
