// The standings and the table of runs. Sorting keeps rows of unequal information apart.
const OPTIONAL = {
  iqm: "Interquartile mean",
  diff: "Paired difference",
  better: "P(better)",
  cells: "Cells",
  cost: "Cost",
};

function columnsNow(cells) {
  const base = data.board.baseline;
  const single = cells.length === 1;
  const columns = [
    { id: "rank", label: "Rank", value: (s) => s.rank, show: (s) => element("span", { class: s.rank === 1 ? "rank first" : "rank" }, String(s.rank)), up: true },
    { id: "method", label: "Method", left: true },
    { id: "mean", label: single ? cells[0].label : "Mean over\nall cells", value: (s) => s.mean[0], show: showMean },
  ];
  if (!single) columns.push({ id: "iqm", label: "Interquartile\nmean", optional: "iqm", value: (s) => s.iqm && s.iqm[0], show: (s) => showInterval(s.iqm) });
  columns.push(
    { id: "diff", label: `Paired\nwith ${base}`, optional: "diff", value: (s) => s.diff && s.diff[0], show: showDifference },
    { id: "better", label: `P(better\nthan ${base})`, optional: "better", value: (s) => s.better, show: (s) => (s.better === null ? DASH : s.better.toFixed(2)) });
  for (const cell of cells) {
    if (single && !data.rows.some((row) => row.claims[cell.number])) continue;
    columns.push(single
      ? { id: "paper", label: "Published", value: (s) => s.claim && s.claim[0], show: (s, n) => showClaim(s, n, cell.number) || DASH }
      : { id: `cell-${cell.number}`, label: cell.label.replace(" · ", "\n").replace(" %", "\u00a0%"), optional: "cells", cell: cell.number, value: (s) => s.mean[0], show: (s, n) => showCell(s, n, cell.number) });
  }
  columns.push(
    { id: "forwards", label: "Forward passes\nper step", optional: "cost", ofRow: (row) => row.forwards, show: (s, n) => written(data.rows[n].forwards ?? DASH), up: true },
    { id: "seconds", label: "Training\ntime", optional: "cost", ofRow: (row) => row.seconds, show: (s, n) => seconds(data.rows[n].seconds), up: true });
  return columns.filter((column) => !column.optional || state.columns[column.optional]);
}

const span = (interval, mark) => (interval[1] === null ? null : element("span", { class: "sub" }, `[${mark(interval[1])}, ${mark(interval[2])}]`));

function showMean(score) {
  const deviation = score.sd === null ? "" : ` ± ${percent(score.sd)}`;
  return [element("span", { class: "big" }, percent(score.mean[0]) + deviation), span(score.mean, percent), score.sd === null ? null : element("span", { class: "sub" }, `${score.n} runs`)];
}

const showInterval = (interval) => (interval ? [percent(interval[0]), span(interval, percent)] : DASH);

function showDifference(score) {
  if (!score.diff) return DASH;
  const [value, low] = score.diff;
  const tone = low === null || (low <= 0 && score.diff[2] >= 0) ? null : value > 0 ? "up" : "down";
  return [element("span", { class: tone }, signed(value)), span(score.diff, signed), whisker(score.diff, differenceLimit())];
}

function differenceLimit() {
  const widest = scope().rows.flatMap((s) => (s && s.diff ? s.diff.map((v) => Math.abs(v ?? 0)) : []));
  return Math.max(0.005, ...widest);
}

function showCell(score, number, cell) {
  const deviation = score.sd === null ? "" : ` ± ${percent(score.sd)}`;
  return [percent(score.mean[0]) + deviation, element("span", { class: "sub" }, `${score.n} ${score.n === 1 ? "run" : "runs"}`), showClaim(score, number, cell)];
}

function showClaim(score, number, cell) {
  const claim = data.rows[number].claims[cell];
  if (!claim) return null;
  const [value, low, high] = score.claim;
  const bounds = low === null ? "" : ` [${signed(low)}, ${signed(high)}]`;
  return element("span", { class: "sub", title: `Protocol: ${claim.protocol}. Seen in: ${claim.source}` }, `published ${percent(claim.accuracy)}: ${signed(value)}${bounds}`);
}

// What a row shows in a column: the score of the scope, of the column's own cell, or of the row itself.
const scoreFor = (column, number, now) => (column.cell === undefined ? now.rows[number] : inCell(column.cell).rows[number]);

function sortKey(column, number, now) {
  if (column.id === "method") return data.rows[number].method.toLowerCase();
  if (column.ofRow) return column.ofRow(data.rows[number]);
  const score = scoreFor(column, number, now);
  return score ? column.value(score) : null;
}

function compare(a, b, down) {
  if (a === b) return 0;
  if (a === null || a === undefined) return 1; // missing is last, either way up
  if (b === null || b === undefined) return -1;
  return (a < b ? -1 : 1) * (down ? -1 : 1);
}

function heading(column, sort, redraw) {
  const sorted = sort.column === column.id;
  const direction = sorted ? (sort.down ? "descending" : "ascending") : null;
  const arrow = sorted ? (sort.down ? " ▾" : " ▴") : "";
  const press = () => {
    if (sorted) sort.down = !sort.down;
    else Object.assign(sort, { column: column.id, down: !(column.up || column.left) });
    redraw();
  };
  return element("th", { scope: "col", class: column.left ? "left" : null, "aria-sort": direction },
    element("button", { type: "button", "data-column": column.id, onclick: press }, column.label + arrow));
}

function keepFocus(table, draw) {
  const focused = document.activeElement;
  const id = table.contains(focused) ? focused.getAttribute("data-column") : null;
  draw();
  if (id) for (const button of table.querySelectorAll("thead button")) if (button.getAttribute("data-column") === id) button.focus();
}

function drawTable() {
  const cells = chosenCells();
  const columns = columnsNow(cells);
  if (!columns.some((column) => column.id === state.sort.column)) Object.assign(state.sort, { column: "mean", down: true });
  const by = columns.find((column) => column.id === state.sort.column);
  const now = scope();
  const rows = visibleRows();
  const body = element("tbody");
  for (const group of unique(rows.map((number) => data.rows[number].group))) {
    body.append(element("tr", { class: "group" }, element("th", { colspan: columns.length, scope: "rowgroup" }, element("span", {}, group))));
    const keys = new Map(rows.map((number) => [number, sortKey(by, number, now)]));
    const within = rows.filter((number) => data.rows[number].group === group)
      .sort((a, b) => compare(keys.get(a), keys.get(b), state.sort.down) || a - b);
    for (const number of within) {
      body.append(line(number, columns, now));
      if (state.open.has(number)) body.append(runsLine(number, columns.length));
    }
  }
  const table = byId("table");
  keepFocus(table, () => table.replaceChildren(
    element("thead", {}, element("tr", {}, columns.map((column) => heading(column, state.sort, drawTable)))), body));
  const empty = data.empty.length ? ` Without any runs: ${data.empty.join(", ")}.` : "";
  byId("status").textContent = `${rows.length} of ${data.rows.length} rows shown. Means are over the ${data.cells.length} cells that have runs.${empty}`;
}

function line(number, columns, now) {
  return element("tr", { class: "line", id: anchors[number] }, columns.map((column) => {
    if (column.id === "method") return element("td", { class: "left name" }, who(number));
    const score = scoreFor(column, number, now);
    if (column.ofRow) return element("td", {}, column.show(score, number));
    if (score) return element("td", {}, column.show(score, number));
    const text = column.id === "mean" || column.cell !== undefined ? (column.cell === undefined && chosenCells().length !== 1 ? "cells missing" : "missing") : DASH;
    return element("td", {}, element("span", { class: "missing" }, text));
  }));
}

// Puts an address of this page into the browser's bar, to be copied from there.
const permalink = (name, text, label) => element("button",
  { type: "button", class: "permalink code", "aria-label": label, "data-address": name, onclick: () => { location.hash = name; } }, text);

function who(number) {
  const row = data.rows[number];
  const tick = element("input", { type: "checkbox", "aria-label": `Draw ${row.method}`, onchange: () => { draw(number, tick.checked); refreshPlots(); } });
  tick.checked = colour(number) >= 0;
  const open = state.open.has(number);
  const press = () => { if (open) state.open.delete(number); else state.open.add(number); drawTable(); };
  const title = row.title === row.method ? null : element("span", { class: "sub" }, row.title);
  return element("div", { class: "who" }, tick, element("div", {},
    element("button", { type: "button", class: "link", "aria-expanded": String(open), onclick: press }, row.method),
    permalink(anchors[number], "#", `Address of ${row.method}`), title));
}

// Ticking takes the first free colour; there are as many as MARKS.
function draw(number, wanted) {
  if (!wanted) state.drawn[colour(number)] = null;
  else {
    const free = state.drawn.indexOf(null);
    if (free >= 0) state.drawn[free] = number;
    else if (state.drawn.length < MARKS.length) state.drawn.push(number);
    else state.drawn[MARKS.length - 1] = number;
  }
  for (const tick of byId("table").querySelectorAll(".who input")) {
    tick.checked = drawnRows().some((drawn) => tick.getAttribute("aria-label") === `Draw ${nameOf(drawn)}`);
  }
}

function runsLine(number, width) {
  const chips = data.cells.map((cell, place) => {
    const runs = runsOf[number].filter((run) => run.cell === place);
    return element("div", {}, element("span", {}, cell.label), runs.length ? runs.map((run) => element("button",
      { type: "button", class: "run", "data-run": run.id, onclick: () => openRun(run) }, `seed ${run.seed}: ${percent(run.metrics[state.rule])}`)) : element("span", { class: "missing" }, "missing"));
  });
  return element("tr", { class: "runs-of" }, element("td", { colspan: width }, element("div", { class: "chips" }, chips)));
}

// The command that makes a run again and compares it; files are named beside it, as records hold no paths.
const reproduce = (run) => `noisybench rerun leaderboards/${data.board.name}/runs/${run.id}.json`;

// What a spreadsheet would take for a formula is text.
const csvCell = (value) => {
  const text = typeof value === "string" && /^[=+@-]/.test(value) ? `'${value}` : String(value ?? "");
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

// The runs that the choices leave, every rule and metric, as fractions.
function runsAsCsv() {
  const measures = [...data.rules.map((rule) => rule.id), ...data.metrics.filter((metric) => metric.final).map((metric) => metric.id)];
  const head = ["board", "information", "method", "dataset", "noise", "noise_rate", "seed", "run", ...measures];
  const rows = new Set(visibleRows());
  const cells = new Set(chosenCells().map((cell) => cell.number));
  const lines = data.runs.filter((run) => rows.has(run.row) && cells.has(run.cell)).map((run) => {
    const [row, cell] = [data.rows[run.row], data.cells[run.cell]];
    return [data.board.name, row.group, row.method, cell.dataset, cell.noise, cell.rate, run.seed, run.id, ...measures.map((id) => run.metrics[id])];
  });
  return [head, ...lines].map((line) => line.map(csvCell).join(",")).join("\n") + "\n";
}

function downloadCsv() {
  const address = URL.createObjectURL(new Blob([runsAsCsv()], { type: "text/csv" }));
  const link = element("a", { href: address, download: `${data.board.name}.csv` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

const RUN_COLUMNS = [
  { id: "method", label: "Method", left: true, value: (run) => nameOf(run.row).toLowerCase() },
  { id: "cell", label: "Cell", left: true, value: (run) => run.cell, show: (run) => data.cells[run.cell].label },
  { id: "seed", label: "Seed", up: true, value: (run) => run.seed, show: (run) => String(run.seed) },
  { id: "accuracy", label: "Test accuracy", value: (run) => run.metrics[state.rule], show: (run) => percent(run.metrics[state.rule]) },
  ...data.metrics.filter((metric) => metric.column).map((metric) => ({
    id: metric.id, label: metric.column, value: (run) => run.metrics[metric.id] ?? null, show: (run) => inFigures(metric, run.metrics[metric.id]),
  })),
  { id: "time", label: "Training\ntime", up: true, value: (run) => run.seconds, show: (run) => seconds(run.seconds) },
  { id: "id", label: "Run", up: true, value: (run) => run.id, show: (run) => permalink(`run-${run.id}`, run.id, `Address of run ${run.id}`) },
];

function drawRuns() {
  const rows = new Set(visibleRows());
  const cells = new Set(chosenCells().map((cell) => cell.number));
  const by = RUN_COLUMNS.find((column) => column.id === state.runSort.column);
  const runs = data.runs.filter((run) => rows.has(run.row) && cells.has(run.cell))
    .sort((a, b) => compare(by.value(a), by.value(b), state.runSort.down));
  const body = element("tbody", {}, runs.slice(0, state.shownRuns).map((run) => element("tr", {}, RUN_COLUMNS.map((column) =>
    element("td", { class: column.left ? "left" : null }, column.id === "method"
      ? element("button", { type: "button", class: "link", "data-run": run.id, onclick: () => openRun(run) }, nameOf(run.row))
      : column.show(run))))));
  const table = byId("runs");
  keepFocus(table, () => table.replaceChildren(
    element("thead", {}, element("tr", {}, RUN_COLUMNS.map((column) => heading(column, state.runSort, drawRuns)))), body));
  const left = runs.length - state.shownRuns;
  byId("more").hidden = left <= 0;
  byId("more").textContent = `Show more runs (${thousands(Math.max(0, left))} left)`;
}
