// What the server has in memory, and which of it is hot: used now.
import { useEffect, useRef, useState } from "preact/hooks";
import { formatBytes, formatCount, formatSeconds } from "../format.js";
import { html } from "../html.js";
import { Chip, Empty, Pending, RefLink, When } from "../parts/common.js";
import { Scroll } from "../parts/table.js";
import { LIVE_MILLISECONDS, useApi } from "../use_api.js";
import { Tile } from "./run.js";

const KEPT = 30;

export function ServingPage({ about }) {
  const state = useApi("/v1/status", { live: true });
  const heat = useHeat(state.data);
  if (!state.data) return html`<h1>Serving</h1><${Pending} state=${state} what="the memory" />`;
  const status = state.data;
  const versions = [...status.versions].sort((one, other) => recent(heat, other.ref) - recent(heat, one.ref) || other.hits - one.hits);
  const limit = status.capacity === null ? "" : ` of ${formatCount(status.capacity)}`;
  return html`
    <div class="title"><h1>Serving</h1><span class="faint">updated while you look</span></div>
    <p class="lead">${about.base?.name ?? status.base} on ${status.device} in ${status.precision}</p>
    <div class="tiles">
      <${Tile} name="Loaded">${formatCount(versions.length)}${limit}<//>
      <${Tile} name="In memory">${formatBytes(status.size)}<//>
      <${Tile} name="Slots">${formatCount(status.slots)} in ${formatCount(status.racks)}<//>
      <${Tile} name="Waiting">${formatCount(status.waiting)}<//>
      <${Tile} name="Computing">${formatCount(status.computing)}<//>
      <${Tile} name="Loads · evictions">${formatCount(status.loads)} · ${formatCount(status.evictions)}<//>
    </div>
    ${!versions.length && html`<${Empty}>Nothing is loaded yet: a version loads at its first call.<//>`}
    ${versions.length > 0 && html`<${Table} versions=${versions} heat=${heat} />`}
  `;
}

function Table({ versions, heat }) {
  return html`
    <${Scroll} label="Versions in memory">
      <table>
        <thead>
          <tr>
            <th scope="col">Version</th>
            <th scope="col">Last minute</th>
            <th scope="col" class="number">Calls</th>
            <th scope="col">Last used</th>
            <th scope="col">Method</th>
            <th scope="col">Engine</th>
            <th scope="col">Place</th>
            <th scope="col" class="number">Size</th>
            <th scope="col" class="number">Loaded in</th>
          </tr>
        </thead>
        <tbody>
          ${versions.map(
            (version) => html`
              <tr key=${version.ref} class=${recent(heat, version.ref) ? "hot" : ""}>
                <th scope="row"><${RefLink} to=${version.ref} row />${version.pinned && html` <${Chip}>pinned<//>`}</th>
                <td><${Sparks} counts=${heat[version.ref] ?? []} /></td>
                <td class="number">${formatCount(version.hits)}</td>
                <td><${When} at=${version.used_at} /></td>
                <td>${version.method}</td>
                <td>${version.engine}</td>
                <td>${version.place}</td>
                <td class="number">${formatBytes(version.size)}</td>
                <td class="number">${formatSeconds(version.load_seconds)}</td>
              </tr>
            `,
          )}
        </tbody>
      </table>
    <//>
  `;
}

// The calls of the last minute, by two seconds: how many each version had since the status before.
function useHeat(status) {
  const [heat, setHeat] = useState({});
  const before = useRef(null);
  const hits = status && Object.fromEntries(status.versions.map((version) => [version.ref, version.hits]));
  useEffect(() => {
    if (!hits) return undefined;
    const tick = () => {
      const since = before.current ?? hits;
      const calls = ([ref, count]) => [ref, Math.max(0, count - (since[ref] ?? 0))]; // a version that was loaded anew counts from 0
      before.current = hits;
      setHeat((old) => Object.fromEntries(Object.entries(hits).map(calls).map(([ref, count]) => [ref, [...(old[ref] ?? []), count].slice(-KEPT)])));
    };
    tick();
    const timer = setInterval(tick, LIVE_MILLISECONDS); // nothing changed: a quiet moment is one, too
    return () => clearInterval(timer);
  }, [JSON.stringify(hits)]);
  return heat;
}

const recent = (heat, ref) => (heat[ref] ?? []).reduce((sum, count) => sum + count, 0);

function Sparks({ counts }) {
  const most = Math.max(1, ...counts);
  const total = counts.reduce((sum, count) => sum + count, 0);
  return html`
    <svg class="sparks" width=${KEPT * 4} height="18" role="img" aria-label=${`${total} calls in the last minute`}>
      ${counts.map((count, index) => html`<rect key=${index} x=${(KEPT - counts.length + index) * 4} y=${18 - Math.max(1, (17 * count) / most)} width="3" height=${Math.max(1, (17 * count) / most)} />`)}
    </svg>
    <span class="faint">${total || ""}</span>
  `;
}
