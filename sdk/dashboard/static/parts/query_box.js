// The search: a query of the registry's language, with completion, help, and mistakes that are pointed at.
import { useEffect, useRef, useState } from "preact/hooks";
import { accept, proposals, wordAt } from "../completion.js";
import { html } from "../html.js";
import { useApi } from "../use_api.js";

const OPERATORS = "= != < <= > >= in, not in, like, is null, and, or, not, ( )";

export function QueryBox({ value, error, subject, examples, onSearch }) {
  const [text, setText] = useState(value);
  const [offered, setOffered] = useState([]);
  const [active, setActive] = useState(-1);
  const [isHelpOpen, setHelpOpen] = useState(false);
  const [isTouched, setTouched] = useState(false);
  const fields = useApi(isTouched || isHelpOpen ? "/api/fields" : null).data;
  const field = useRef(null);
  useEffect(() => setText(value), [value]);

  const offer = (typed, caret) => {
    const { word } = wordAt(typed, caret);
    setOffered(fields ? proposals(word, fields[subject], fields.metrics) : []);
    setActive(-1);
  };
  const typed = (event) => {
    setText(event.target.value);
    offer(event.target.value, event.target.selectionStart);
  };
  const close = () => setOffered([]);
  const take = (proposal) => {
    const done = accept(text, field.current.selectionStart, proposal.text);
    setText(done.text);
    close();
    field.current.value = done.text;
    field.current.focus();
    field.current.setSelectionRange(done.caret, done.caret);
  };
  const search = (event) => {
    event?.preventDefault();
    close();
    onSearch(text.trim());
  };
  const pressed = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && offered.length) {
      setActive((active + step + offered.length) % offered.length);
    } else if ((event.key === "Enter" || event.key === "Tab") && active >= 0 && offered.length) {
      take(offered[active]);
    } else if (event.key === "Tab" && offered.length && !event.shiftKey) {
      take(offered[0]);
    } else if (event.key === "Escape" && offered.length) {
      close();
    } else {
      return;
    }
    event.preventDefault();
  };
  const list = `${subject}-proposals`;
  return html`
    <form class="query" role="search" onSubmit=${search}>
      <div class="query-field">
        <input
          ref=${field}
          type="text"
          data-search
          aria-label=${`Search ${subject}`}
          placeholder=${`Search: ${examples[0].query}`}
          spellcheck="false"
          autocomplete="off"
          autocapitalize="off"
          role="combobox"
          aria-expanded=${offered.length > 0}
          aria-controls=${list}
          aria-autocomplete="list"
          aria-activedescendant=${active >= 0 ? `${list}-${active}` : null}
          aria-invalid=${error ? "true" : null}
          value=${text}
          onInput=${typed}
          onKeyDown=${pressed}
          onFocus=${() => setTouched(true)}
          onBlur=${close}
        />
        <ul id=${list} role="listbox" aria-label="Proposals" hidden=${!offered.length}>
          ${offered.map(
            (proposal, index) => html`
              <li
                id=${`${list}-${index}`}
                key=${proposal.text}
                role="option"
                aria-selected=${index === active}
                onMouseDown=${(event) => {
                  event.preventDefault();
                  take(proposal);
                }}
              >
                <code>${proposal.text}</code> <span class="faint">${proposal.help}</span>
              </li>
            `,
          )}
        </ul>
      </div>
      <button type="submit">Search</button>
      <button type="button" class="quiet" aria-expanded=${isHelpOpen} onClick=${() => setHelpOpen(!isHelpOpen)}>Help</button>
      ${error && html`<${Mistake} error=${error} query=${value} onSearch=${onSearch} />`}
      ${isHelpOpen && html`<${Help} fields=${fields?.[subject] ?? []} examples=${examples} onSearch=${onSearch} />`}
    </form>
  `;
}

// The server's message, the character it points at, and for a lone word what was probably meant.
function Mistake({ error, query, onSearch }) {
  const at = error.position;
  const isWord = /^[\w.-]+$/.test(query);
  const meant = `name like '%${query}%'`;
  return html`
    <div class="box bad" role="alert">
      <p>${error.message.split("\n")[0]}</p>
      ${Number.isInteger(at) && html`<pre>${query}${"\n"}${" ".repeat(at)}^</pre>`}
      ${isWord && html`<p><button type="button" onClick=${() => onSearch(meant)}>Search for <code>${meant}</code></button></p>`}
    </div>
  `;
}

function Help({ fields, examples, onSearch }) {
  return html`
    <div class="box help">
      <div>
        <h3>Examples</h3>
        <ul>
          ${examples.map(
            ({ query, help }) => html`
              <li key=${query}><button type="button" class="link" onClick=${() => onSearch(query)}><code>${query}</code></button> ${help}</li>
            `,
          )}
        </ul>
        <p class="faint">
          Operators: <code>${OPERATORS}</code>. Times: <code>2026-11-01</code>, <code>7d ago</code>.
        </p>
      </div>
      <div>
        <h3>Fields</h3>
        <dl class="fields">
          ${fields.map(({ name, help }) => html`<div key=${name}><dt><code>${name}</code></dt><dd>${help}</dd></div>`)}
        </dl>
      </div>
    </div>
  `;
}
