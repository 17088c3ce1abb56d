// Where the versions of a lineage stand: parents left of their children, one column a generation.

// {places: {ref: {column, row}}, columns, rows} of nodes [{ref}] and edges [{from: parent, to: child}].
export function layout(nodes, edges) {
  const parents = grouped(edges, "to", "from");
  const children = grouped(edges, "from", "to");
  const column = besideChildren(columnsOf(nodes, parents), children);
  const columns = [];
  for (const { ref } of nodes) (columns[column.get(ref)] ??= []).push(ref);
  const row = new Map();
  const number = (refs) => refs.forEach((ref, index) => row.set(ref, index - (refs.length - 1) / 2));
  columns.forEach(number);
  // Each column in the order of the mean of its neighbours, forth and back, so that few edges cross.
  for (const [order, neighbours] of [[columns, parents], [[...columns].reverse(), children], [columns, parents]]) {
    for (const refs of order) {
      const mean = new Map(refs.map((ref) => [ref, meanRow(neighbours.get(ref), row) ?? row.get(ref)]));
      refs.sort((one, other) => mean.get(one) - mean.get(other));
      number(refs);
    }
  }
  const rows = Math.max(1, ...columns.map((refs) => refs.length));
  const places = {};
  for (const { ref } of nodes) places[ref] = { column: column.get(ref), row: row.get(ref) + (rows - 1) / 2 };
  return { places, columns: columns.length, rows };
}

function grouped(edges, by, other) {
  const found = new Map();
  for (const edge of edges) found.set(edge[by], [...(found.get(edge[by]) ?? []), edge[other]]);
  return found;
}

// The length of the longest way from a version without parents. A version is made after its parents, so no way is a circle;
// a damaged registry may have one, which the count of the nodes ends.
function columnsOf(nodes, parents) {
  const column = new Map(nodes.map(({ ref }) => [ref, 0]));
  for (let round = 0; round < nodes.length; round++) {
    let isSettled = true;
    for (const { ref } of nodes) {
      const least = Math.max(-1, ...(parents.get(ref) ?? []).map((parent) => column.get(parent) ?? -1)) + 1;
      if (least > column.get(ref) && least < nodes.length) {
        column.set(ref, least);
        isSettled = false;
      }
    }
    if (isSettled) break;
  }
  const used = [...new Set(column.values())].sort((one, other) => one - other);
  return new Map([...column].map(([ref, at]) => [ref, used.indexOf(at)]));
}

// A version without parents stands right before its first child, so that no edge runs through other versions.
function besideChildren(column, children) {
  return new Map(
    [...column].map(([ref, at]) => {
      const next = (children.get(ref) ?? []).map((child) => column.get(child)).filter((each) => each > at);
      return [ref, at === 0 && next.length ? Math.min(...next) - 1 : at];
    }),
  );
}

function meanRow(refs, row) {
  const known = (refs ?? []).filter((ref) => row.has(ref));
  return known.length ? known.reduce((sum, ref) => sum + row.get(ref), 0) / known.length : null;
}
