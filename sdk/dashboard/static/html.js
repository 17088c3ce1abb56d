// Templates: htm reads them, Preact draws them. Every text in them becomes a text node, never markup.
import { h } from "preact";
import htm from "htm";

export const html = htm.bind(h);
