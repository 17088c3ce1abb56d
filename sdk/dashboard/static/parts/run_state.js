// How far a run is: its progress, its speed, and the time that is left.
import { formatCount, formatNumber, formatSeconds } from "../format.js";
import { html } from "../html.js";
import { Progress } from "./common.js";

export const LOSS = "train/loss";
export const SPEED = "train/samples_per_second";

export const isLive = (run) => run.status === "running";

export function RunProgress({ run }) {
  const { progress } = run;
  if (!progress?.step) return "–";
  if (!progress.steps || progress.step >= progress.steps) return `${formatCount(progress.step)} steps`;
  const left = isLive(run) && progress.seconds_left !== null && progress.seconds_left !== undefined;
  return html`
    <${Progress} of=${progress.fraction ?? progress.step / progress.steps} />
    <span class="steps">${formatCount(progress.step)} / ${formatCount(progress.steps)}</span>
    ${left && html` <span class="faint">${formatSeconds(progress.seconds_left)} left</span>`}
  `;
}

export const runSpeed = (run) => (run.last?.[SPEED] === undefined ? "–" : `${formatNumber(run.last[SPEED], 3)} rows/s`);
