// The aliases of an adapter: where each points, and, for an admin, forms that move, add and remove them.
import { useState } from "preact/hooks";
import { path, put, remove } from "../api.js";
import { html } from "../html.js";
import { Outcome, useChange } from "./change.js";
import { Empty, RefLink } from "./common.js";
import { Scroll } from "./table.js";

const address = (name, alias) => `/api/adapters/${encodeURIComponent(name)}/aliases/${encodeURIComponent(alias)}`;

function describe(name, alias) {
  return (current) =>
    current ? html`<b>${alias}</b> points to <${RefLink} to=${`${name}@${current}`} /> now.` : html`<b>${alias}</b> does not exist now.`;
}

// `aliases`: numbers by alias. `numbers`: those of all versions, newest first.
export function AliasTable({ name, aliases, numbers, canChange, onDone }) {
  const entries = Object.entries(aliases).sort();
  return html`
    ${!entries.length && html`<${Empty}>${name} has no alias.<//>`}
    ${entries.length > 0 &&
    html`
      <${Scroll} label="Aliases">
      <table class="narrow">
        <thead><tr><th scope="col">Alias</th><th scope="col">Version</th>${canChange && html`<th scope="col">Change</th>`}</tr></thead>
        <tbody>
          ${entries.map(([alias, number]) => html`<${AliasRow} key=${alias} ...${{ name, alias, number, numbers, canChange, onDone }} />`)}
        </tbody>
      </table>
      <//>
    `}
    ${canChange && html`<${AddAlias} name=${name} number=${numbers[0]} numbers=${numbers} onDone=${onDone} />`}
  `;
}

function AliasRow({ name, alias, number, numbers, canChange, onDone }) {
  const [edit, setEdit] = useState(null); // what is chosen, and what the alias was when it was chosen
  const done = () => {
    setEdit(null);
    onDone();
  };
  const change = useChange(done);
  const move = (event) => {
    event.preventDefault();
    const to = edit.to;
    change.submit((expected) => put(address(name, alias), { number: to, if_currently: expected }), edit.from);
  };
  const drop = () => change.submit((expected) => remove(path(address(name, alias), { if_currently: expected })), number);
  const isRemoval = edit === null;
  return html`
    <tr>
      <th scope="row"><bdi>${alias}</bdi></th>
      <td><${RefLink} to=${`${name}@${number}`} /></td>
      ${canChange &&
      html`
        <td>
          <form class="inline" onSubmit=${move}>
            <select
              aria-label=${`Version that ${alias} points to`}
              value=${edit?.to ?? number}
              onChange=${(event) => setEdit({ to: Number(event.target.value), from: edit?.from ?? number })}
            >
              ${numbers.map((each) => html`<option key=${each} value=${each}>${each}</option>`)}
            </select>
            <button type="submit" disabled=${!edit || change.isBusy} aria-label=${`Move the alias ${alias}`}>Move</button>
            <button type="button" class="quiet" disabled=${change.isBusy} onClick=${drop} aria-label=${`Remove the alias ${alias}`}>Remove</button>
          </form>
          <${Outcome}
            change=${change}
            now=${describe(name, alias)}
            again=${(current) => (isRemoval ? "Remove it all the same" : current ? `Move it from ${current} to ${edit.to}` : `Point it to ${edit.to}`)}
            onKeep=${done}
          />
        </td>
      `}
    </tr>
  `;
}

// An alias that is new, as far as this page knows; if it exists elsewhere, the server says so.
export function AddAlias({ name, number, numbers = null, onDone }) {
  const [alias, setAlias] = useState("");
  const [chosen, setChosen] = useState(number);
  const [asked, setAsked] = useState("");
  const done = () => {
    setAlias("");
    onDone();
  };
  const change = useChange(done);
  const add = (event) => {
    event.preventDefault();
    const wanted = alias.trim();
    setAsked(wanted);
    change.submit((expected) => put(address(name, wanted), { number: chosen, if_currently: expected }), 0);
  };
  return html`
    <form class="inline" onSubmit=${add}>
      <input aria-label="New alias" placeholder="production" value=${alias} onInput=${(event) => setAlias(event.target.value)} />
      ${numbers &&
      html`
        <select aria-label="Version of the new alias" value=${chosen} onChange=${(event) => setChosen(Number(event.target.value))}>
          ${numbers.map((each) => html`<option key=${each} value=${each}>${each}</option>`)}
        </select>
      `}
      <button type="submit" disabled=${!alias.trim() || change.isBusy}>Add alias</button>
    </form>
    <${Outcome}
      change=${change}
      now=${describe(name, asked)}
      again=${(current) => (current ? `Move it from ${current} to ${chosen}` : `Point it to ${chosen}`)}
      onKeep=${done}
    />
  `;
}

// One alias of a version, with a button that removes it.
export function AliasChip({ name, alias, number, canChange, onDone }) {
  const change = useChange(onDone);
  const drop = () => change.submit((expected) => remove(path(address(name, alias), { if_currently: expected })), number);
  return html`
    <span class="chip alias">
      <bdi>${alias}</bdi>
      ${canChange && html`<button type="button" class="cross" disabled=${change.isBusy} onClick=${drop} aria-label=${`Remove the alias ${alias}`}>×</button>`}
    </span>
    <${Outcome} change=${change} now=${describe(name, alias)} again=${() => "Remove it all the same"} onKeep=${onDone} />
  `;
}
