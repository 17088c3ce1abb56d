// One version: what it is, how good it is, where it comes from, and its labels.
import { useState } from "preact/hooks";
import { formatBytes, formatCount, formatScore, formatValue } from "../format.js";
import { html } from "../html.js";
import { AddAlias, AliasChip } from "../parts/aliases.js";
import { Chip, Empty, Facts, Pending, RunLink, Section, Text, When } from "../parts/common.js";
import { Lineage } from "../parts/lineage.js";
import { MetricCharts } from "../parts/metric_charts.js";
import { Note } from "../parts/note.js";
import { Scroll } from "../parts/table.js";
import { Tags } from "../parts/tags.js";
import { link } from "../router.js";
import { useApi } from "../use_api.js";

export function VersionPage({ route, about }) {
  const asked = route.item;
  const state = useApi(`/api/versions/${encodeURIComponent(asked)}`);
  const version = state.data;
  if (!version) return html`<h1><bdi>${asked}</bdi></h1><${Pending} state=${state} what=${asked} />`;
  const labels = { reference: version.ref, canChange: about.can_change, onDone: state.reload };
  return html`
    <${Title} version=${version} asked=${asked} serves=${about.serves} />
    <div class="columns">
      <div>
        <${Section} title="Metrics"><${Metrics} version=${version} /><//>
        <${Section} title="Configuration"><${Configuration} config=${version.config} /><//>
        <${Section} title="Files"><${Files} files=${version.files} /><//>
      </div>
      <div>
        <${Section} title="Labels">
          <h3>Aliases</h3>
          <div class="chips">
            ${version.aliases.map(
              (alias) => html`<${AliasChip} key=${alias} name=${version.name} alias=${alias} number=${version.number} canChange=${about.can_change} onDone=${state.reload} />`,
            )}
            ${!version.aliases.length && !about.can_change && html`<span class="empty">No alias.</span>`}
          </div>
          ${about.can_change && html`<${AddAlias} name=${version.name} number=${version.number} onDone=${state.reload} />`}
          <h3>Tags</h3>
          <${Tags} ...${labels} tags=${version.tags} />
          <h3>Note</h3>
          <${Note} ...${labels} note=${version.note} />
        <//>
        <${Section} title="About"><${About} version=${version} /><//>
      </div>
    </div>
    <${Section} title="Lineage"><${Lineage} reference=${version.ref} /><//>
    ${version.run && html`<${Section} title="History"><${MetricCharts} of=${version.ref} /><//>`}
  `;
}

function Title({ version, asked, serves }) {
  const { name, siblings } = version;
  const others = [...siblings].sort((one, other) => one - other);
  const at = others.indexOf(version.number);
  const step = (index, text) =>
    others[index] !== undefined && html`<a class="button quiet" href=${link("version", `${name}@${others[index]}`)}>${text}</a>`;
  return html`
    <p class="path"><a href=${link("versions")}>Versions</a> / <a href=${link("adapter", name)}>${name}</a></p>
    <div class="title">
      <h1>${version.ref}</h1>
      ${asked !== version.ref && html`<span class="faint"><bdi>${asked}</bdi> is this one</span>`}
      <span class="chips">${version.aliases.map((alias) => html`<${Chip} key=${alias} kind="alias">${alias}<//>`)}</span>
      <div class="actions">
        ${step(at - 1, "← older")} ${step(at + 1, "newer →")}
        ${others.length > 1 && html`<a class="button" href=${link("compare", null, { ref: comparison(name, others, at) })}>Compare</a>`}
        ${serves && html`<a class="button" href=${link("try", null, { ref: version.ref })}>Try it</a>`}
      </div>
    </div>
    <p class="lead">
      ${version.task} · ${version.method} on ${version.base?.name ?? "several bases"}
      ${version.primary_metric && html` · ${version.primary_metric} <b>${formatScore(version.score)}</b>`}
      ${" · "}<${When} at=${version.created_at} />
    </p>
  `;
}

// A version with the one before it, or the first with the one after it.
const comparison = (name, numbers, at) => [at ? at - 1 : at, at ? at : at + 1].map((index) => `${name}@${numbers[index]}`);

function Metrics({ version }) {
  const metrics = Object.entries(version.metrics).sort();
  if (!metrics.length) return html`<${Empty}>It was not scored.<//>`;
  const rows = version.evaluation && `on ${formatCount(version.evaluation.rows)} rows (${version.evaluation.fingerprint.slice(0, 12)})`;
  return html`
    <${Scroll} label="Metrics">
    <table class="narrow">
      <tbody>
        ${metrics.map(
          ([name, value]) => html`
            <tr key=${name} class=${name === version.primary_metric ? "strong" : ""}>
              <th scope="row">${name}${name === version.primary_metric && html` <span class="faint">primary</span>`}</th>
              <td class="number">${formatScore(value)}</td>
            </tr>
          `,
        )}
      </tbody>
    </table>
    <//>
    ${rows && html`<p class="faint">Scored ${rows}. Scores on other rows cannot be compared with these.</p>`}
  `;
}

function Configuration({ config }) {
  const [isWhole, setWhole] = useState(false);
  if (!config.length) return html`<${Empty}>It has no configuration.<//>`;
  const shown = isWhole ? config : config.filter(({ differs }) => differs);
  const rest = config.length - config.filter(({ differs }) => differs).length;
  return html`
    ${!shown.length && html`<p>All ${config.length} fields are the method's defaults.</p>`}
    ${shown.length > 0 &&
    html`
      <${Scroll} label="Configuration">
        <table class="narrow">
          <thead><tr><th scope="col">Field</th><th scope="col">Value</th><th scope="col">Default</th></tr></thead>
          <tbody>
            ${shown.map(
              ({ name, value, default: usual, differs }) => html`
                <tr key=${name} class=${differs && isWhole ? "strong" : ""}>
                  <th scope="row">${name}</th>
                  <td><code>${formatValue(value)}</code></td>
                  <td class="faint"><code>${formatValue(usual)}</code></td>
                </tr>
              `,
            )}
          </tbody>
        </table>
      <//>
    `}
    ${rest > 0 &&
    html`<label class="switch"><input type="checkbox" checked=${isWhole} onChange=${() => setWhole(!isWhole)} /> also the defaults (${rest})</label>`}
  `;
}

function Files({ files }) {
  if (!files.length) return html`<${Empty}>It has no files of its own.<//>`;
  return html`
    <${Scroll} label="Files">
      <table class="narrow">
        <thead><tr><th scope="col">Name</th><th scope="col" class="number">Size</th><th scope="col">sha256</th></tr></thead>
        <tbody>
          ${files.map(
            ({ name, size, sha256 }) => html`
              <tr key=${name}>
                <th scope="row"><bdi>${name}</bdi></th>
                <td class="number" title=${`${formatCount(size)} bytes`}>${formatBytes(size)}</td>
                <td><code title=${sha256}>${sha256.slice(0, 16)}…</code></td>
              </tr>
            `,
          )}
        </tbody>
      </table>
    <//>
  `;
}

function About({ version }) {
  const { base } = version;
  const labels = version.labels?.length ? html`<span class="chips">${version.labels.map((label) => html`<${Chip} key=${label}>${label}<//>`)}</span>` : "none: a number";
  return html`
    <${Facts}
      items=${[
        ["kind", version.kind],
        ["composition", version.composition && html`<code>${version.composition}</code>`],
        ["parents", version.parents.length > 0 && version.parents.map((parent) => html`<${Parent} key=${parent.ref} parent=${parent} />`)],
        ["labels", labels],
        ["texts", version.text?.join(", ")],
        ["max length", `${version.max_length} tokens`],
        ["parameters", formatCount(version.parameters)],
        ["size", formatBytes(version.size)],
        ["run", version.run && html`<${RunLink} uid=${version.run.uid ?? version.run} />`],
        ["base", base && html`${base.name} <span class="faint">${base.model_type}, ${base.layers} layers of ${base.hidden_size}, <code>${base.fingerprint.slice(0, 12)}</code></span>`],
        ["description", version.description && html`<${Text} value=${version.description} />`],
        ["digest", html`<code title=${version.digest}>${version.digest.slice(0, 16)}…</code>`],
        ["log", html`<a href=${link("log", null, { ref: version.ref })}>what was done with it</a>`],
      ]}
    />
  `;
}

function Parent({ parent }) {
  const name = parent.present ? html`<a href=${link("version", parent.ref)}>${parent.ref}</a>` : html`${parent.ref} (not here)`;
  return html`<div>${name} <span class="faint">${parent.role}</span></div>`;
}
