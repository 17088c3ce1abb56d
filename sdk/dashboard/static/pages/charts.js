// The histories of several versions and runs in one chart, with smoothing, a log scale, and zoom.
import { useEffect, useState } from "preact/hooks";
import { get, path } from "../api.js";
import { html } from "../html.js";
import { byInterest } from "../metric_order.js";
import { ErrorBox, Empty } from "../parts/common.js";
import { HistoryChart } from "../parts/history_chart.js";
import { Names } from "../parts/names.js";
import { link, setQuery } from "../router.js";

export function ChartsPage({ route }) {
  const { query } = route;
  const of = query.getAll("of");
  const { metrics, errors, isRead } = useMetrics(of);
  const metric = metrics.includes(query.get("metric")) ? query.get("metric") : metrics[0];
  const smoothing = Math.min(0.99, Math.max(0, Number(query.get("smooth")) || 0));
  const isLog = query.has("log");
  const isLive = query.has("live");
  const series = of.map((name) => ({ id: `${name} ${metric}`, label: name, of: name, metric, href: hrefOf(name) }));
  return html`
    <h1>Charts</h1>
    <${Names} names=${of} label="Version or run" placeholder="sst2@3 or run:3fa9" onChange=${(names) => setQuery({ of: names })} />
    ${errors.map((error) => html`<${ErrorBox} key=${error.message} error=${error} />`)}
    ${!of.length && html`<${Empty}>Name versions and runs above, or pick them in <a href=${link("versions")}>Versions</a> or <a href=${link("runs")}>Runs</a>.<//>`}
    ${of.length > 0 && isRead && !metrics.length && html`<${Empty}>Nothing was logged by these.<//>`}
    ${metric &&
    html`
      <div class="controls">
        <label>
          Metric
          <select value=${metric} onChange=${(event) => setQuery({ metric: event.target.value })}>
            ${metrics.map((each) => html`<option key=${each} value=${each}>${each}</option>`)}
          </select>
        </label>
        <label>
          Smoothing <span class="smoothing">${smoothing.toFixed(2)}</span>
          <input
            type="range"
            min="0"
            max="0.99"
            step="0.01"
            value=${smoothing}
            title="Exponential moving average of the points that are drawn, as in TensorBoard; the values stay in the background"
            onInput=${(event) => setQuery({ smooth: Number(event.target.value) ? event.target.value : null })}
          />
        </label>
        <label class="switch"><input type="checkbox" checked=${isLog} onChange=${() => setQuery({ log: !isLog || null })} /> log scale</label>
        <label class="switch"><input type="checkbox" checked=${isLive} onChange=${() => setQuery({ live: !isLive || null })} /> keep up to date</label>
      </div>
      <${HistoryChart} series=${series} label=${metric} smoothing=${smoothing} isLog=${isLog} live=${isLive} height=${400} />
    `}
  `;
}

const hrefOf = (name) => (name.startsWith("run:") ? link("run", name.slice(4)) : link("version", name));

// The names of all metrics that any of them has: the losses and scores of most of them first.
function useMetrics(of) {
  const [state, setState] = useState({ metrics: [], errors: [], isRead: false });
  useEffect(() => {
    const controller = new AbortController();
    const read = async (name) => {
      try {
        return (await get(path("/api/summaries", { of: name }), { signal: controller.signal })).metrics.map(({ key }) => key);
      } catch (error) {
        return error;
      }
    };
    Promise.all(of.map(read)).then((found) => {
      if (controller.signal.aborted) return;
      const errors = found.filter((each) => each instanceof Error);
      const keys = found.filter((each) => Array.isArray(each)).flat();
      const count = (key) => keys.filter((each) => each === key).length;
      const metrics = [...new Set(keys)].sort((one, other) => count(other) - count(one) || byInterest(one, other));
      setState({ metrics, errors, isRead: true });
    });
    return () => controller.abort();
  }, [of.join("\n")]);
  return state;
}
