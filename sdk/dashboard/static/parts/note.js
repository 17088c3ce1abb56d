// The note of a version, and, for an admin, a form that rewrites it.
import { useState } from "preact/hooks";
import { put } from "../api.js";
import { html } from "../html.js";
import { Outcome, useChange } from "./change.js";
import { Empty, Text } from "./common.js";

export function Note({ reference, note, canChange, onDone }) {
  const [edit, setEdit] = useState(null); // the text, and what the note was when the editing began
  const done = () => {
    setEdit(null);
    onDone();
  };
  const change = useChange(done);
  const keep = (event) => {
    event.preventDefault();
    const text = edit.text || null;
    const address = `/api/versions/${encodeURIComponent(reference)}/note`;
    change.submit((expected) => put(address, { note: text, if_currently: expected ?? null }), edit.from);
  };
  if (edit === null) {
    return html`
      ${note ? html`<${Text} as="p" class="note" value=${note} />` : html`<${Empty}>No note.<//>`}
      ${canChange && html`<button type="button" onClick=${() => setEdit({ text: note ?? "", from: note })}>${note ? "Edit the note" : "Write a note"}</button>`}
    `;
  }
  const now = (current) =>
    current ? html`The note is now: <${Text} as="q" class="note" value=${current} />` : "There is no note now.";
  return html`
    <form onSubmit=${keep}>
      <textarea aria-label="Note" rows="5" dir="auto" value=${edit.text} onInput=${(event) => setEdit({ ...edit, text: event.target.value })}></textarea>
      <div class="inline">
        <button type="submit" disabled=${change.isBusy}>Keep the note</button>
        <button type="button" class="quiet" onClick=${() => (change.forget(), setEdit(null))}>Cancel</button>
      </div>
      <${Outcome} change=${change} now=${now} again=${() => "Replace it"} onKeep=${done} />
    </form>
  `;
}
