// A text, and the answers of several adapters side by side, in one call and one batch.
import { useEffect, useState } from "preact/hooks";
import { post } from "../api.js";
import { formatNumber } from "../format.js";
import { html } from "../html.js";
import { Empty, ErrorBox, RefLink, Text } from "../parts/common.js";
import { Names } from "../parts/names.js";
import { setQuery } from "../router.js";
import { useApi } from "../use_api.js";

export function TryPage({ route, about }) {
  const refs = route.query.getAll("ref");
  const models = useApi("/v1/models").data?.data ?? [];
  const [first, setFirst] = useState("");
  const [second, setSecond] = useState("");
  const [isPair, setPair] = useState(false);
  const [state, setState] = useState({ answers: null, error: null, isBusy: false, milliseconds: 0 });
  useEffect(() => {
    if (refs.length || !models.length) return;
    const alike = models.filter((model) => model.text.length === models[0].text.length);
    setPair(models[0].text.length === 2);
    setQuery({ ref: alike.slice(0, 3).map((model) => model.id) });
  }, [models.length]);
  const ask = async (event) => {
    event.preventDefault();
    setState({ ...state, isBusy: true });
    const start = performance.now();
    try {
      const input = isPair ? [first, second] : first;
      const answer = await post("/v1/mixed", { rows: refs.map((model) => ({ model, input })) });
      setState({ answers: answer.data, error: null, isBusy: false, milliseconds: performance.now() - start });
    } catch (error) {
      setState({ answers: null, error, isBusy: false, milliseconds: 0 });
    }
  };
  if (about.role === "read") return html`<h1>Try it</h1><${Empty}>Predictions need a predict token.<//>`;
  return html`
    <h1>Try it</h1>
    <${Names} names=${refs} label="Version or adapter" placeholder="sst2@production" known=${models.map((model) => model.id)} onChange=${(names) => setQuery({ ref: names })} />
    <form class="try" onSubmit=${ask}>
      <label>Text <textarea rows="3" dir="auto" value=${first} onInput=${(event) => setFirst(event.target.value)} onKeyDown=${sendWithEnter}></textarea></label>
      ${isPair && html`<label>Second text <textarea rows="3" dir="auto" value=${second} onInput=${(event) => setSecond(event.target.value)} onKeyDown=${sendWithEnter}></textarea></label>`}
      <div class="inline">
        <button type="submit" class="primary" disabled=${!refs.length || !first || state.isBusy}>Ask</button>
        <label class="switch"><input type="checkbox" checked=${isPair} onChange=${() => setPair(!isPair)} /> a pair of texts</label>
        ${state.answers && html`<span class="faint" role="status">${formatNumber(state.milliseconds, 3)} ms for all in one call</span>`}
      </div>
    </form>
    ${state.error && html`<${ErrorBox} error=${state.error} />`}
    <div class="answers">${state.answers?.map((answer) => html`<${Answer} key=${`${answer.index} ${answer.model}`} answer=${answer} />`)}</div>
  `;
}

function sendWithEnter(event) {
  if (event.key !== "Enter" || event.shiftKey) return;
  event.preventDefault();
  event.target.form.requestSubmit();
}

function Answer({ answer }) {
  const versions = [answer.version].flat();
  return html`
    <article aria-label=${answer.model}>
      <h2><bdi>${answer.model}</bdi></h2>
      <p class="faint">${versions.map((version) => (version === answer.model ? null : html`<span key=${version}>${isRef(version) ? html`<${RefLink} to=${version} />` : version}</span>`))}</p>
      ${answer.parallel ? answer.parallel.map((member) => html`<h3 key=${member.version}>${member.version}</h3><${Prediction} prediction=${member} />`) : html`<${Prediction} prediction=${answer} />`}
    </article>
  `;
}

const isRef = (version) => /^[\w-]+@\d+$/.test(version);

function Prediction({ prediction }) {
  if (prediction.label === null) return html`<p class="big">${formatNumber(prediction.score)}</p>`;
  const labels = prediction.labels.map((label, index) => ({ label, probability: prediction.probs[index] }));
  labels.sort((one, other) => other.probability - one.probability);
  return html`
    <p class="big"><${Text} value=${prediction.label} /></p>
    <ul class="bars">
      ${labels.slice(0, 8).map(
        ({ label, probability }) => html`
          <li key=${label}>
            <${Text} as="span" value=${label} /> <span class="number">${(100 * probability).toFixed(1)} %</span>
            <span class="measure"><span style=${{ width: `${100 * probability}%` }}></span></span>
          </li>
        `,
      )}
    </ul>
  `;
}
