// One run in full: a modal dialog, so that Escape closes it and focus returns to where it was.
const pair = (name, value, code) => [element("dt", {}, name), element("dd", { class: code ? "code" : null }, value)];
const written = (value) => (typeof value === "string" ? value : JSON.stringify(value));

function openRun(run) {
  const row = data.rows[run.row];
  const dialog = byId("detail");
  const config = Object.entries({ ...data.bases[run.row], ...run.config }).sort(([a], [b]) => (a < b ? -1 : 1));
  const rules = data.rules.map((rule) => pair(rule.label, `${percent(run.metrics[rule.id])} %`));
  const others = data.metrics.filter((metric) => metric.final && metric.id in run.metrics)
    .map((metric) => pair(metric.title, inFigures(metric, run.metrics[metric.id], " %")));
  const cost = [
    pair("training time", seconds(run.seconds)),
    pair("noisy samples per second", thousands(run.speed)),
    pair("peak memory", `${thousands(run.megabytes)} MB`),
    pair("device", run.device),
    pair("forward passes per step", row.forwards === null ? DASH : String(row.forwards)),
    pair("achieved noise rate", `${percent(run.achieved)} % of the noisy train set`),
  ];
  const prints = Object.entries(run.prints).map(([name, number]) => pair(name, data.hashes[number], true));
  dialog.replaceChildren(element("div", { class: "sheet" },
    element("header", {},
      element("div", {},
        element("h2", { id: "detail-title" }, `${row.method}, seed ${run.seed}`),
        element("p", { class: "fine" }, `${data.cells[run.cell].label} · ${row.group}`)),
      element("button", { type: "button", id: "close-detail", onclick: () => dialog.close() }, "Close")),
    element("div", { class: "two" },
      element("div", {}, element("h3", {}, "Test accuracy by selection rule"), element("dl", {}, rules, others)),
      element("div", {}, element("h3", {}, "Cost"), element("dl", {}, cost))),
    element("h3", {}, "Curves"),
    runCurves(run, Math.min(860, window.innerWidth - 72)),
    element("h3", {}, "Reproduce this run"),
    element("pre", { class: "command", tabindex: 0 }, reproduce(run)),
    element("p", { class: "fine" }, "It prints the command of the run, runs it in a new folder and compares. Records hold no paths: name files by --data-path, --noise-file, --weights."),
    element("h3", {}, "Fingerprints (sha256)"),
    element("dl", {}, pair("run id", run.id, true), prints, pair("run again", run.verified ?? "not yet"), run.commit ? pair("git commit", run.commit, true) : []),
    element("h3", {}, "Configuration"),
    element("dl", {}, config.map(([name, value]) => pair(name, written(value), true)))));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

function runCurves(run, width) {
  const grid = data.grids[run.epochs];
  const drawn = data.metrics.filter((metric) => metric.drawn && metric.fraction && run.curves[metric.id]);
  const lines = drawn.map((metric, place) => ({
    place: place % MARKS.length, label: metric.title, points: grid.map((epoch, k) => [epoch + 1, at(run.curves[metric.id][k])]),
  }));
  const { svg, sx, sy } = frame(width, { domain: [1, Math.max(2, run.epochs)], label: "epoch", format: (v) => Math.round(v) },
    { domain: [0, 1], format: (v) => Math.round(100 * v) }, "Curves of this run", 230);
  for (const { place, points } of lines) svg.append(drawing("path", { class: `lines s${place}`, d: path(points, sx, sy) }));
  const legend = element("ul", { class: "legend" }, lines.map(({ place, label }) => element("li", {},
    drawing("svg", { width: 22, height: 14, "aria-hidden": "true" }, drawing("line", { class: `lines s${place}`, x1: 0, x2: 22, y1: 7, y2: 7 })), label)));
  return element("div", {}, svg, legend);
}
