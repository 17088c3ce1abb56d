// The drawing of what a version was made from, and of what was made from it.
import { formatScore } from "../format.js";
import { html } from "../html.js";
import { layout } from "../lineage_layout.js";
import { link } from "../router.js";
import { useApi } from "../use_api.js";
import { Empty, Pending } from "./common.js";
import { Scroll } from "./table.js";

const WIDTH = 176;
const HEIGHT = 46;
const ACROSS = 72;
const DOWN = 18;
const LETTERS = 22;

export function Lineage({ reference }) {
  const lineage = useApi(`/api/lineage/${encodeURIComponent(reference)}`);
  if (!lineage.data) return html`<${Pending} state=${lineage} what="the lineage" />`;
  const { nodes, edges, ref } = lineage.data;
  if (!edges.length) return html`<${Empty}>Made from no other version, and no other was made from it.<//>`;
  const { places, columns, rows } = layout(nodes, edges);
  const width = columns * (WIDTH + ACROSS) - ACROSS + 4;
  const height = rows * (HEIGHT + DOWN) - DOWN + 4;
  const at = (name) => ({ x: 2 + places[name].column * (WIDTH + ACROSS), y: 2 + places[name].row * (HEIGHT + DOWN) });
  const drawn = edges.filter(({ from, to }) => places[from] && places[to]);
  return html`
    <${Scroll} label="Lineage">
      <svg class="lineage" width=${width} height=${height} viewBox=${`0 0 ${width} ${height}`} role="group" aria-label=${`Lineage of ${ref}`}>
        ${drawn.map((edge) => html`<${Edge} key=${`${edge.from} ${edge.to} ${edge.role}`} role=${edge.role} from=${at(edge.from)} to=${at(edge.to)} />`)}
        ${nodes.map((node) => html`<${Node} key=${node.ref} node=${node} at=${at(node.ref)} isSelf=${node.ref === ref} />`)}
      </svg>
    <//>
  `;
}

function Edge({ from, to, role }) {
  const start = { x: from.x + WIDTH, y: from.y + HEIGHT / 2 };
  const end = { x: to.x, y: to.y + HEIGHT / 2 };
  const bend = ACROSS / 2;
  return html`
    <path d=${`M${start.x} ${start.y} C${start.x + bend} ${start.y} ${end.x - bend} ${end.y} ${end.x} ${end.y}`}>
      <title>${role}</title>
    </path>
    <text class="role" x=${(start.x + end.x) / 2} y=${(start.y + end.y) / 2 - 4} text-anchor="middle">${short(role, 12)}</text>
  `;
}

function Node({ node, at, isSelf }) {
  const detail = node.present ? [node.method, node.score !== null && formatScore(node.score)].filter(Boolean).join(" · ") : "not in this registry";
  const box = html`
    <rect x=${at.x} y=${at.y} width=${WIDTH} height=${HEIGHT} rx="6" />
    <text class="name" x=${at.x + 12} y=${at.y + 19}>${short(node.ref, LETTERS)}</text>
    <text class="detail" x=${at.x + 12} y=${at.y + 36}>${short(detail, LETTERS + 4)}</text>
    <title>${node.ref} ${detail}</title>
  `;
  if (!node.present) return html`<g class="node absent">${box}</g>`;
  return html`
    <a class=${`node ${isSelf ? "self" : ""}`} href=${link("version", node.ref)} aria-label=${`${node.ref}, ${detail}`} aria-current=${isSelf ? "true" : null}>${box}</a>
  `;
}

const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
