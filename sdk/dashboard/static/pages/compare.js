// Several versions side by side, field by field.
import { path } from "../api.js";
import { formatNumber, formatValue } from "../format.js";
import { html } from "../html.js";
import { Empty, Pending, RefLink, Text } from "../parts/common.js";
import { Names } from "../parts/names.js";
import { Scroll } from "../parts/table.js";
import { link, setQuery } from "../router.js";
import { useApi } from "../use_api.js";

export function ComparePage({ route }) {
  const refs = route.query.getAll("ref");
  const isWhole = route.query.has("all");
  const state = useApi(refs.length > 1 ? path("/api/compare", { ref: refs, all: isWhole }) : null);
  return html`
    <div class="title">
      <h1>Compare</h1>
      ${refs.length > 1 && html`<div class="actions"><a class="button" href=${link("charts", null, { of: refs })}>Draw their histories</a></div>`}
    </div>
    <${Names} names=${refs} label="Version" placeholder="sst2@3" onChange=${(names) => setQuery({ ref: names })} />
    ${refs.length < 2 && html`<${Empty}>Name two versions or more, or pick them in <a href=${link("versions")}>Versions</a>.<//>`}
    ${refs.length > 1 &&
    html`
      <label class="switch"><input type="checkbox" checked=${isWhole} onChange=${() => setQuery({ all: !isWhole || null })} /> also what is the same</label>
      ${state.data && !state.error ? html`<${Fields} comparison=${state.data} isWhole=${isWhole} />` : html`<${Pending} state=${state} what="the versions" />`}
    `}
  `;
}

function Fields({ comparison, isWhole }) {
  const fields = comparison.fields.filter(({ differs }) => differs || isWhole);
  if (!fields.length) return html`<${Empty}>They are the same in every field.<//>`;
  return html`
    <${Scroll} label="Fields side by side">
      <table class="compare">
        <thead><tr><th scope="col">Field</th>${comparison.refs.map((ref) => html`<th scope="col" key=${ref}><${RefLink} to=${ref} /></th>`)}</tr></thead>
        <tbody>
          ${fields.map(
            ({ name, values, differs }) => html`
              <tr key=${name} class=${differs ? "" : "same"}>
                <th scope="row"><bdi>${name}</bdi></th>
                ${values.map((value, index) => html`<td key=${index} class="breaks"><${Value} value=${value} /></td>`)}
              </tr>
            `,
          )}
        </tbody>
      </table>
    <//>
  `;
}

function Value({ value }) {
  if (typeof value === "number") return html`<span title=${value}>${Number.isInteger(value) ? value : formatNumber(value, 5)}</span>`;
  return html`<${Text} value=${formatValue(value)} />`;
}
