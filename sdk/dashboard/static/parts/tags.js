// The tags of a version, and, for an admin, forms that set and remove them.
import { useState } from "preact/hooks";
import { put } from "../api.js";
import { html } from "../html.js";
import { Outcome, useChange } from "./change.js";
import { Empty, Text } from "./common.js";

function setter(reference, key, value) {
  const address = `/api/versions/${encodeURIComponent(reference)}/tags`;
  return (expected) => put(address, { set: { [key]: value }, if_currently: { [key]: expectedOf(expected, key) } });
}

// A conflict says what all of the tags are now; the page says what one was.
const expectedOf = (expected, key) => (expected !== null && typeof expected === "object" ? (expected[key] ?? null) : expected);

function describe(key) {
  return (current) => {
    const value = expectedOf(current, key);
    return value === null ? html`There is no tag <bdi>${key}</bdi> now.` : html`<bdi>${key}</bdi> is <${Text} as="q" value=${value} /> now.`;
  };
}

export function Tags({ reference, tags, canChange, onDone }) {
  const entries = Object.entries(tags).sort();
  return html`
    ${!entries.length && !canChange && html`<${Empty}>No tag.<//>`}
    ${entries.map(([key, value]) => html`<${Tag} key=${key} ...${{ reference, name: key, value, canChange, onDone }} />`)}
    ${canChange && html`<${SetTag} reference=${reference} tags=${tags} onDone=${onDone} />`}
  `;
}

function Tag({ reference, name, value, canChange, onDone }) {
  const change = useChange(onDone);
  const drop = () => change.submit(setter(reference, name, null), value);
  return html`
    <div class="tag">
      <bdi class="tag-name">${name}</bdi> <${Text} value=${value} />
      ${canChange && html`<button type="button" class="cross" disabled=${change.isBusy} onClick=${drop} aria-label=${`Remove the tag ${name}`}>×</button>`}
    </div>
    <${Outcome} change=${change} now=${describe(name)} again=${() => "Remove it all the same"} onKeep=${onDone} />
  `;
}

function SetTag({ reference, tags, onDone }) {
  const [name, setName] = useState("");
  const [value, setValue] = useState("");
  const [asked, setAsked] = useState("");
  const done = () => {
    setName("");
    setValue("");
    onDone();
  };
  const change = useChange(done);
  const set = (event) => {
    event.preventDefault();
    const key = name.trim();
    setAsked(key);
    change.submit(setter(reference, key, value), tags[key] ?? null);
  };
  return html`
    <form class="inline" onSubmit=${set}>
      <input aria-label="Name of the tag" placeholder="owner" value=${name} onInput=${(event) => setName(event.target.value)} />
      <input aria-label="Value of the tag" placeholder="ann" value=${value} onInput=${(event) => setValue(event.target.value)} />
      <button type="submit" disabled=${!name.trim() || change.isBusy}>Set tag</button>
    </form>
    <${Outcome} change=${change} now=${describe(asked)} again=${() => "Set it all the same"} onKeep=${done} />
  `;
}
