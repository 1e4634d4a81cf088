// Wiring: controls to state, state to views.
let refreshPlots = () => {};

function refresh() {
  drawTable();
  drawRuns();
  refreshPlots();
  const note = byId("rule-note");
  note.textContent = data.rules.find((rule) => rule.id === state.rule).note;
  note.hidden = !note.textContent;
}

function offer(id, values, all, label = (value) => value) {
  const select = byId(id);
  const options = unique(values);
  if (options.length > 1) select.append(element("option", { value: "" }, all));
  else select.parentElement.hidden = true;
  select.append(...options.map((value) => element("option", { value }, label(value))));
  select.addEventListener("change", () => {
    state[id] = select.value;
    if (!chosenCells().length) resetCells(id);
    refresh();
  });
}

// A choice that leaves no cell (this dataset has no such noise) undoes the other two.
function resetCells(kept) {
  for (const id of ["dataset", "noise", "rate"]) {
    if (id === kept) continue;
    state[id] = "";
    byId(id).value = "";
  }
}

function describeBoard() {
  byId("title").textContent = data.board.title;
  byId("summary").textContent = data.board.summary;
  const seeds = unique(data.runs.map((run) => run.seed)).length;
  const facts = [
    [unique(data.rows.map((row) => row.method)).length, "methods"], [thousands(data.runs.length), "runs"],
    [`${data.cells.length} of ${data.cells.length + data.empty.length}`, "cells"], [seeds, "seeds"],
    [data.board.protocol, "protocol"], [data.board.ruleset, "ruleset"],
    [data.board.track, "track"],
  ];
  byId("board-notes").replaceChildren(...data.board.notes.map((line) => element("p", { class: "fine" }, line)));
  byId("facts").append(...facts.map(([value, name]) => element("li", {}, element("b", {}, String(value)), ` ${name}`)));
}

function setUpControls() {
  const rule = byId("rule");
  rule.append(...data.rules.map((r) => element("option", { value: r.id }, r.label)));
  rule.value = state.rule;
  rule.addEventListener("change", () => { state.rule = rule.value; refresh(); });
  offer("dataset", data.cells.map((cell) => cell.dataset), "all");
  offer("noise", data.cells.map((cell) => cell.noise), "all", noiseLabel);
  offer("rate", data.cells.map(rateLabel), "all");
  offer("group", data.rows.map((row) => row.group), "all, kept apart");
  byId("filter").addEventListener("input", (event) => { state.filter = event.target.value; drawTable(); drawRuns(); });
  byId("more").addEventListener("click", () => { state.shownRuns += 200; drawRuns(); });
  byId("column-list").append(...Object.entries(OPTIONAL).map(([id, label]) => {
    const box = element("input", { type: "checkbox", "data-toggle": id, onchange: () => { state.columns[id] = box.checked; drawTable(); } });
    box.checked = true;
    return element("label", {}, box, label);
  }));
  const columns = byId("columns");
  document.addEventListener("click", (event) => { if (!columns.contains(event.target)) columns.open = false; });
  columns.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { columns.open = false; columns.querySelector("summary").focus(); }
  });
  byId("detail").addEventListener("click", (event) => { if (event.target === byId("detail")) byId("detail").close(); });
}

function setUpTheme() {
  const order = ["auto", "light", "dark"];
  const button = byId("theme");
  let theme = "auto";
  button.addEventListener("click", () => {
    theme = order[(order.indexOf(theme) + 1) % order.length];
    if (theme === "auto") document.documentElement.removeAttribute("data-theme");
    else document.documentElement.setAttribute("data-theme", theme);
    button.textContent = `Theme: ${theme}`;
    button.setAttribute("aria-label", `Colour theme: ${theme}`);
  });
}

// The baseline and the best of each group first, then whoever is best, as many as there are colours.
function firstDrawn() {
  const scores = overall().rows;
  const mean = (number) => (scores[number] ? scores[number].mean[0] : -1);
  const order = data.rows.map((row, number) => number).sort((a, b) => mean(b) - mean(a) || a - b);
  const base = order.filter((number) => nameOf(number) === data.board.baseline).slice(0, 1);
  const leaders = unique(data.rows.map((row) => row.group)).map((group) => order.find((number) => data.rows[number].group === group));
  state.drawn = unique([...base, ...leaders, ...order]).slice(0, MARKS.length);
}

describeBoard();
if (data.runs.length) {
  setUpControls();
  firstDrawn();
  refreshPlots = setUpPlots();
  refresh();
} else {
  byId("status").textContent = "No runs are filed on this board yet.";
}
setUpTheme();

// A link to a row opens it; a link to a run shows it.
function follow() {
  const name = location.hash.slice(1);
  const number = anchors.indexOf(name);
  const run = data.runs.find((one) => `run-${one.id}` === name);
  if (run) openRun(run);
  if (number < 0) return;
  state.open.add(number);
  drawTable();
  byId(name)?.scrollIntoView({ block: "center" });
}
window.addEventListener("hashchange", follow);
if (data.runs.length) follow();
byId("csv").addEventListener("click", downloadCsv);
byId("submit-command").textContent = `noisybench bench run ${data.board.name} --methods METHOD\nnoisybench leaderboard add RUN… --board ${data.board.name}`;
