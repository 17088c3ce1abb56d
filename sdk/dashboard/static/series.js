// Series as a chart draws them: of one length, with gaps where a value is no number.
import uPlot from "uplot";
import { path, get } from "./api.js";
import { number } from "./format.js";

// One metric of one run or version: the server thins it to `points`, and keeps every extreme and NaN. `view` is a window
// of steps; null means all of them.
export async function readHistory({ of, metric }, view, points, signal) {
  const window = view ? { first: Math.max(0, Math.floor(view[0])), last: Math.ceil(view[1]) } : {};
  const answer = await get(path("/api/history", { of, metric, points, ...window }), { signal });
  return { ...answer, values: answer.values.map(number), isWhole: answer.steps.length >= answer.total };
}

// The exponential moving average of the finite values, debiased, as `registry history --smooth` has it; null elsewhere.
export function smooth(values, weight) {
  let sum = 0;
  let divisor = 0;
  return values.map((value) => {
    if (!Number.isFinite(value)) return null;
    sum = weight * sum + (1 - weight) * value;
    divisor = weight * divisor + (1 - weight);
    return sum / divisor;
  });
}

const drawable = (value, isLog) => (Number.isFinite(value) && !(isLog && value <= 0) ? value : null);

// uPlot's columns: all steps, then for each line its values and, if `smoothing` is above 0, the smoothed ones.
// A step that another line has is `undefined` in this one, which is no gap; null is one.
export function columns(lines, { smoothing, isLog }) {
  const tables = lines.map(({ steps, values }) => {
    const drawn = values.map((value) => drawable(value, isLog));
    const table = smoothing ? [steps, drawn, smooth(values, smoothing).map((value) => drawable(value ?? NaN, isLog))] : [steps, drawn];
    return rising(table);
  });
  return tables.length ? uPlot.join(tables) : [[]];
}

// A run that was resumed may have a step twice; then the later value is drawn.
function rising(table) {
  const [steps] = table;
  const kept = steps.map((step, index) => index).filter((index) => steps[index] !== steps[index + 1]);
  return kept.length === steps.length ? table : table.map((column) => kept.map((index) => column[index]));
}

// Steps whose values cannot be drawn as numbers, for marks at the chart's edge: {nan, above, below}.
export function marks({ steps, values }) {
  const at = (test) => steps.filter((_, index) => test(values[index]));
  return { nan: at(Number.isNaN), above: at((value) => value === Infinity), below: at((value) => value === -Infinity) };
}

// What the legend says of a line. The extremes are exact: thinning keeps them.
export function summary({ steps, values }) {
  const finite = values.filter(Number.isFinite);
  return {
    last: values.at(-1),
    lastStep: steps.at(-1),
    min: finite.length ? finite.reduce((one, other) => Math.min(one, other)) : undefined,
    max: finite.length ? finite.reduce((one, other) => Math.max(one, other)) : undefined,
    unreadable: values.length - finite.length,
  };
}

// The value of a line at a step, or at the last step before it that it has.
export function valueAt({ steps, values }, step) {
  let low = 0;
  let high = steps.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] <= step) low = middle + 1;
    else high = middle;
  }
  return low ? values[low - 1] : undefined;
}
