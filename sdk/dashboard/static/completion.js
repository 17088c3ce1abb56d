// What the search proposes for the word before the caret: fields, metrics, functions of metrics, and words of the language.
const FUNCTIONS = ["last", "best", "first", "min", "max", "mean", "count"];
const WORDS = ["and", "or", "not", "in (", "like '%", "is null", "is not null"];
const MOST = 9;

// {start, word}: the word that ends at the caret.
export function wordAt(text, caret) {
  const word = /[\w./@%+:-]*(\([\w./-]*)?$/.exec(text.slice(0, caret))[0];
  return { start: caret - word.length, word };
}

// The proposals for a word, those that begin with it first: [{text, help}].
export function proposals(word, fields, metrics) {
  if (!word) return [];
  const call = new RegExp(`^(${FUNCTIONS.join("|")})\\(`, "i").exec(word);
  const all = call
    ? metrics.map((metric) => ({ text: `${call[1]}(${metric})`, help: `of ${metric} in its run` }))
    : [
        ...fields.map(({ name, help }) => ({ text: name, help })),
        ...metrics.map((metric) => ({ text: metric.includes("/") ? metric : `metrics.${metric}`, help: "score" })),
        ...FUNCTIONS.map((name) => ({ text: `${name}(`, help: "of a metric in its run" })),
        ...WORDS.map((text) => ({ text, help: "" })),
      ];
  const lower = word.toLowerCase();
  const matches = all.filter(({ text }) => text.toLowerCase().includes(lower) && text.toLowerCase() !== lower);
  const begins = ({ text }) => (text.toLowerCase().startsWith(lower) ? 0 : 1);
  return matches.sort((one, other) => begins(one) - begins(other)).slice(0, MOST);
}

// The text and the caret once a proposal has taken the word's place.
export function accept(text, caret, proposal) {
  const { start } = wordAt(text, caret);
  const isOpen = /[(%'.]$/.test(proposal);
  const before = text.slice(0, start) + proposal.replace(/(KEY|FIELD|NAME)$/, "") + (isOpen || /(KEY|FIELD|NAME)$/.test(proposal) ? "" : " ");
  return { text: before + text.slice(caret).replace(/^ /, ""), caret: before.length };
}
