// The append-only log: who did what, when.
import { useState } from "preact/hooks";
import { path } from "../api.js";
import { formatTime, formatValue } from "../format.js";
import { html } from "../html.js";
import { Empty, Pending, Text } from "../parts/common.js";
import { Scroll } from "../parts/table.js";
import { link, setQuery } from "../router.js";
import { useApi } from "../use_api.js";

const LIMIT = 50;

export function LogPage({ route }) {
  const ref = route.query.get("ref") ?? "";
  const offset = Number(route.query.get("offset")) || 0;
  const state = useApi(path("/api/events", { ref, limit: LIMIT, offset }), { live: offset === 0 });
  const [typed, setTyped] = useState(ref);
  const search = (event) => {
    event.preventDefault();
    setQuery({ ref: typed.trim(), offset: null });
  };
  return html`
    <h1>Log</h1>
    <form class="inline" role="search" onSubmit=${search}>
      <input data-search aria-label="Adapter or version" placeholder="sst2 or sst2@3" value=${typed} onInput=${(event) => setTyped(event.target.value)} />
      <button type="submit">Show</button>
    </form>
    ${(!state.data || state.error) && html`<${Pending} state=${state} what="the log" />`}
    ${state.data && !state.error && (state.data.items.length ? html`<${Table} events=${state.data.items} />` : html`<${Empty}>The log has no line ${ref ? `about ${ref}` : "yet"}.<//>`)}
    <div class="pager">
      ${offset > 0 && html`<button type="button" onClick=${() => setQuery({ offset: Math.max(0, offset - LIMIT) || null })}>Newer</button>`}
      ${state.data?.more && html`<button type="button" onClick=${() => setQuery({ offset: offset + LIMIT })}>Older</button>`}
    </div>
  `;
}

function Table({ events }) {
  return html`
    <${Scroll} label="Lines of the log">
      <table>
        <thead><tr><th scope="col">When</th><th scope="col">Who</th><th scope="col">What</th><th scope="col">To</th><th scope="col">Details</th></tr></thead>
        <tbody>
          ${events.map(
            (event, index) => html`
              <tr key=${`${event.at} ${index}`}>
                <td><time datetime=${event.at}>${formatTime(event.at)}</time></td>
                <td><${Text} value=${event.actor} /></td>
                <td>${event.action}</td>
                <td><${Subject} name=${event.subject} /></td>
                <td class="breaks">
                  ${Object.entries(event.details ?? {}).map(([name, value]) => html`<span class="detail" key=${name}><span class="faint">${name}</span> <${Text} value=${formatValue(value)} /></span>`)}
                  ${event.damage && html`<span class="chip bad">${event.damage}</span>`}
                </td>
              </tr>
            `,
          )}
        </tbody>
      </table>
    <//>
  `;
}

function Subject({ name }) {
  if (/^[a-z0-9][\w-]*@\d+$/.test(name)) return html`<a href=${link("version", name)} data-row="">${name}</a>`;
  if (/^[a-z0-9][\w-]*$/.test(name)) return html`<a href=${link("adapter", name)} data-row="">${name}</a>`;
  return html`<${Text} value=${name} />`;
}
