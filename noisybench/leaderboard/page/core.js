// Data, small helpers, and the one place that makes elements: text only ever enters the page as text.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const DASH = "–";

const state = {
  rule: data.board.headline,
  dataset: "", noise: "", rate: "", group: "", filter: "",
  sort: { column: "mean", down: true },
  runSort: { column: "accuracy", down: true },
  open: new Set(), // rows whose runs are listed
  drawn: [], // rows in the plots; the place in the list is the colour
  columns: { iqm: true, diff: true, better: true, cells: true, cost: true },
  shownRuns: 20,
};

function fill(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined) node.append(child);
  }
  return node;
}

function setAll(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  return node;
}

const element = (tag, attributes = {}, ...children) =>
  fill(setAll(document.createElement(tag), attributes), children);
const drawing = (tag, attributes = {}, ...children) =>
  fill(setAll(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes), children);

const percent = (value, digits = 2) => (value === null || value === undefined ? DASH : (100 * value).toFixed(digits));
const inFigures = (metric, value, unit = "") => {
  if (value === null || value === undefined) return DASH;
  return metric.fraction ? percent(value) + unit : String(+value.toPrecision(4));
};
const signed = (value) => (value > 0 ? "+" : "") + (100 * value).toFixed(2).replace("-", "−");
const unique = (values) => [...new Set(values)];
const thousands = (value) => String(value).replace(/\B(?=(\d{3})+$)/g, ",");

function seconds(value) {
  if (value < 120) return `${value.toFixed(1)} s`;
  return value < 7200 ? `${(value / 60).toFixed(1)} min` : `${(value / 3600).toFixed(1)} h`;
}

const rateLabel = (cell) => (cell.rate === null ? "as it is" : `${+(100 * cell.rate).toFixed(4)} %`);
const noiseLabel = (noise) => (noise === "none" ? "as shipped" : noise);

// The cells that the three choices leave; one cell alone is a scope of its own.
function chosenCells() {
  return data.cells
    .map((cell, number) => ({ ...cell, number }))
    .filter((cell) =>
      (!state.dataset || cell.dataset === state.dataset) &&
      (!state.noise || cell.noise === state.noise) &&
      (!state.rate || rateLabel(cell) === state.rate));
}

const overall = () => data.scopes[state.rule][0];
const inCell = (number) => data.scopes[state.rule][number + 1];

function scope() {
  const cells = chosenCells();
  return cells.length === 1 ? inCell(cells[0].number) : overall();
}

// Runs by row, in the order of cells and seeds.
const runsOf = data.rows.map(() => []);
for (const run of data.runs) runsOf[run.row].push(run);

function visibleRows() {
  const wanted = state.filter.trim().toLowerCase();
  return data.rows
    .map((row, number) => number)
    .filter((number) => {
      const row = data.rows[number];
      const named = row.method.toLowerCase().includes(wanted) || row.title.toLowerCase().includes(wanted);
      return named && (!state.group || row.group === state.group);
    });
}

// A row's address: its method, numbered where several rows have one.
const anchors = data.rows.map((row, number) => {
  const before = data.rows.slice(0, number).filter((other) => other.method === row.method).length;
  return `row-${encodeURIComponent(row.method)}${before ? `-${before + 1}` : ""}`;
});
