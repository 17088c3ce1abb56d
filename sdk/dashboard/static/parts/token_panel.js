// Enter or forget the token that this tab's calls are made with.
import { useEffect, useRef, useState } from "preact/hooks";
import { html } from "../html.js";
import { storedToken, storeToken } from "../token.js";

export function TokenPanel({ isRefused, onChange }) {
  const [typed, setTyped] = useState("");
  const field = useRef(null);
  useEffect(() => field.current.focus(), []);
  const keep = (event) => {
    event.preventDefault();
    storeToken(typed.trim());
    onChange();
  };
  const forget = () => {
    storeToken(null);
    onChange();
  };
  const reason = storedToken() ? "The server does not know this token." : "This server answers callers with a token only.";
  return html`
    <form class="panel" onSubmit=${keep} aria-label="Token">
      ${isRefused && html`<p role="alert">${reason}</p>`}
      <label>
        Token
        <input type="password" autocomplete="off" ref=${field} value=${typed} onInput=${(event) => setTyped(event.target.value)} />
      </label>
      <button type="submit" disabled=${!typed.trim()}>Use it</button>
      ${storedToken() && html`<button type="button" class="quiet" onClick=${forget}>Forget the present one</button>`}
      <p class="faint">It is kept in this tab only. A read token looks, a predict token tries, an admin token changes labels.</p>
    </form>
  `;
}
