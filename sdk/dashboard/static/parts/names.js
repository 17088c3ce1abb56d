// A list of versions or runs that a page is about, with a field that adds one.
import { useState } from "preact/hooks";
import { html } from "../html.js";

export function Names({ names, label, placeholder, onChange, known = [] }) {
  const [typed, setTyped] = useState("");
  const add = (event) => {
    event.preventDefault();
    const name = typed.trim();
    setTyped("");
    if (name && !names.includes(name)) onChange([...names, name]);
  };
  return html`
    <form class="inline names" onSubmit=${add}>
      ${names.map(
        (name) => html`
          <span class="chip" key=${name}>
            <bdi>${name}</bdi>
            <button type="button" class="cross" aria-label=${`Remove ${name}`} onClick=${() => onChange(names.filter((each) => each !== name))}>×</button>
          </span>
        `,
      )}
      <input data-search aria-label=${label} placeholder=${placeholder} list="known-names" value=${typed} onInput=${(event) => setTyped(event.target.value)} />
      <datalist id="known-names">${known.map((name) => html`<option key=${name} value=${name}></option>`)}</datalist>
      <button type="submit" disabled=${!typed.trim()}>Add</button>
    </form>
  `;
}
