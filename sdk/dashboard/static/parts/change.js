// Changes with compare-and-set: a change names what it was when it was looked at. If it has moved meanwhile, the server
// changes nothing and says what it is now, and the change can be made again from there.
import { useState } from "preact/hooks";
import { html } from "../html.js";
import { Text } from "./common.js";

// `submit(attempt, expected)` calls `attempt(expected)`, which makes the call; `onDone` gets its answer.
export function useChange(onDone) {
  const [state, setState] = useState({ isBusy: false, error: null, attempt: null });
  const submit = async (attempt, expected) => {
    setState({ isBusy: true, error: null, attempt });
    try {
      const answer = await attempt(expected);
      setState({ isBusy: false, error: null, attempt: null });
      onDone(answer);
    } catch (error) {
      setState({ isBusy: false, error, attempt });
    }
  };
  const isConflict = state.error?.status === 409;
  return {
    isBusy: state.isBusy,
    error: isConflict ? null : state.error,
    conflict: isConflict ? state.error : null,
    submit,
    retry: () => submit(state.attempt, state.error.current),
    forget: () => setState({ isBusy: false, error: null, attempt: null }),
  };
}

// What went wrong with a change. `now` says what it is now; `again` is the label of the button that tries again.
export function Outcome({ change, now, again, onKeep }) {
  if (change.error) return html`<p class="box bad" role="alert"><${Text} value=${change.error.message} /></p>`;
  if (!change.conflict) return null;
  const keep = () => {
    change.forget();
    onKeep?.();
  };
  return html`
    <div class="box warn" role="alert">
      <p>Changed meanwhile, so nothing was changed here. ${now(change.conflict.current)}</p>
      <button type="button" disabled=${change.isBusy} onClick=${change.retry}>${again(change.conflict.current)}</button>
      <button type="button" class="quiet" onClick=${keep}>Keep it as it is now</button>
    </div>
  `;
}
