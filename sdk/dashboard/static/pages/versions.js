// Adapters and their versions: search, sort, page, and pick some to compare or to draw together.
import { useState } from "preact/hooks";
import { path } from "../api.js";
import { formatBytes, formatScore, formatShort } from "../format.js";
import { html } from "../html.js";
import { Chip, Damaged, Empty, Pending, RefLink, Text, When } from "../parts/common.js";
import { PickBar, PickCell, usePicks } from "../parts/picks.js";
import { QueryBox } from "../parts/query_box.js";
import { Pager, Scroll, SortHeader } from "../parts/table.js";
import { setQuery } from "../router.js";
import { useApi } from "../use_api.js";

const LIMIT = 50;
const EXAMPLES = [
  { query: "task = sst2 and eval/accuracy > 0.8", help: "by task and score" },
  { query: "created > 7d ago and not name like 'test%'", help: "of the last week" },
  { query: "alias = production or tags.owner = ann", help: "by labels" },
  { query: "best(eval/accuracy) >= 0.8 and settings.epochs = 3", help: "by the run" },
];

export function VersionsPage({ route, about }) {
  const { query } = route;
  const where = query.get("where") ?? "";
  const isNewest = !query.has("all") && !where;
  const sort = { by: query.get("sort") ?? "created", reverse: query.has("reverse") };
  const offset = Number(query.get("offset")) || 0;
  const list = useApi(
    path("/api/versions", { where, sort: sort.by, reverse: sort.reverse, newest: isNewest, limit: LIMIT, offset }),
  );
  const picks = usePicks();
  const isMistake = list.error?.type === "QueryError";
  const page = list.data; // until the next answer is there, that of the address before
  return html`
    <div class="title">
      <h1>Versions</h1>
      <div class="choice" role="group" aria-label="Which versions">
        <button type="button" aria-pressed=${isNewest} onClick=${() => setQuery({ all: null, where: null, offset: null })}>
          Newest of each adapter
        </button>
        <button type="button" aria-pressed=${!isNewest} onClick=${() => setQuery({ all: true, offset: null })}>All</button>
      </div>
    </div>
    <${QueryBox}
      value=${where}
      subject="versions"
      examples=${EXAMPLES}
      error=${isMistake ? list.error : null}
      onSearch=${(text) => setQuery({ where: text, offset: null })}
    />
    ${!page && !isMistake && html`<${Pending} state=${list} what="versions" />`}
    ${page && list.error && !isMistake && html`<${Pending} state=${list} what="versions" />`}
    ${page && !list.error && html`
      <${Damaged} texts=${page.damaged} />
      ${page.total === 0
        ? html`<${Nothing} where=${where} />`
        : html`
            <${VersionTable} versions=${page.items} sort=${sort} onSort=${({ by, reverse }) => setQuery({ sort: by, reverse, offset: null })} picks=${picks} />
            <${Pager} total=${page.total} offset=${page.offset} limit=${LIMIT} what=${list.address.includes("newest=1") ? "adapters" : "versions"} onMove=${(to) => setQuery({ offset: to || null })} />
          `}
    `}
    <${PickBar} picks=${picks} serves=${about.serves} />
  `;
}

function Nothing({ where }) {
  if (where) return html`<${Empty}>No version matches this query.<//>`;
  return html`<${Empty}>There is no version yet. <code>registry train sst2 --data sample</code> makes the first one.<//>`;
}

export function VersionTable({ versions, sort, onSort, picks }) {
  const header = { sort, onSort };
  const [isWide, setWide] = useState(false);
  const metrics = [...new Set(versions.flatMap((version) => Object.keys(version.metrics)))].sort();
  return html`
    <${Scroll} label="Versions">
      <table>
        <thead>
          <tr>
            <th class="pick"><span class="hidden">Pick</span></th>
            <${SortHeader} name="name" ...${header}>Version<//>
            <th scope="col">Task</th>
            <th scope="col">Method</th>
            <${SortHeader} name="score" className="number" ...${header}>Score<//>
            ${isWide && metrics.map((metric) => html`<${SortHeader} key=${metric} name=${metric} className="number" ...${header}>${metric}<//>`)}
            <th scope="col">Labels</th>
            <th scope="col">Base</th>
            <${SortHeader} name="parameters" className="number" ...${header}>Parameters<//>
            <${SortHeader} name="size" className="number" ...${header}>Size<//>
            <${SortHeader} name="created" ...${header}>Made<//>
          </tr>
        </thead>
        <tbody>
          ${versions.map(
            (version) => html`
              <tr key=${version.ref}>
                <${PickCell} picks=${picks} name=${version.ref} />
                <th scope="row"><${RefLink} to=${version.ref} row /></th>
                <td>${version.task}</td>
                <td>${version.method}${version.kind !== "adapter" && html` <${Chip} kind="kind">${version.kind}<//>`}</td>
                <td class="number"><span title=${version.primary_metric}>${formatScore(version.score)}</span></td>
                ${isWide && metrics.map((metric) => html`<td class="number" key=${metric}>${formatScore(version.metrics[metric])}</td>`)}
                <td class="labels"><${Labels} version=${version} /></td>
                <td>${version.base?.name}</td>
                <td class="number">${formatShort(version.parameters)}</td>
                <td class="number">${formatBytes(version.size)}</td>
                <td><${When} at=${version.created_at} /></td>
              </tr>
            `,
          )}
        </tbody>
      </table>
    <//>
    ${metrics.length > 1 &&
    html`<label class="switch"><input type="checkbox" checked=${isWide} onChange=${() => setWide(!isWide)} /> a column for each metric</label>`}
  `;
}

export function Labels({ version }) {
  return html`
    ${version.aliases.map((alias) => html`<${Chip} key=${alias} kind="alias">${alias}<//>`)}
    ${Object.entries(version.tags).map(([key, value]) => html`<${Chip} key=${key}>${key}=${value}<//>`)}
    ${version.note && html`<${Text} class="note-start" as="span" title=${version.note} value=${version.note.split("\n")[0]} />`}
  `;
}

