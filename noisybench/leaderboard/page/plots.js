// The plots. Each is a function of the state; the methods drawn and their colours come from state.drawn.
const nameOf = (number) => data.rows[number].method;
const colour = (number) => state.drawn.indexOf(number);
const drawnRows = () => state.drawn.filter((number) => number !== null);

function choice(figure, label, options, onchange) {
  const select = element("select", { "aria-label": label, onchange: () => onchange(select.value) },
    options.map(([value, text]) => element("option", { value }, text)));
  let tools = figure.querySelector(".tools");
  if (!tools) figure.append((tools = element("div", { class: "tools" })));
  tools.append(select);
  return select;
}

function setUpPlots() {
  const redraws = [ratesPlot(), costPlot(), curvesPlot(), labelsPlot(), ranksPlot()];
  return () => {
    drawLegend();
    for (const redraw of redraws) redraw();
  };
}

function drawLegend() {
  byId("legend").replaceChildren(...drawnRows().map((number) => {
    const place = colour(number);
    const line = drawing("line", { class: `lines s${place}`, x1: 0, x2: 22, y1: 7, y2: 7 });
    return element("li", {}, drawing("svg", { width: 22, height: 14, "aria-hidden": "true" }, line, mark(place, 11, 7)), nameOf(number));
  }));
}

function ratesPlot() {
  const figure = byId("plot-rates");
  const families = unique(data.cells.map((cell) => `${cell.dataset} · ${noiseLabel(cell.noise)}`));
  const rated = data.cells.some((cell) => cell.rate !== null);
  let family = families[0];
  // Noises without a rate (human labels) are set side by side by the rate they turned out to have.
  if (rated && families.length > 1) choice(figure, "Dataset and noise", families.map((f) => [f, f]), (value) => { family = value; redraw(); });
  const redraw = chart(figure, (width) => {
    const cells = data.cells
      .map((cell, number) => ({ ...cell, number, x: cell.rate === null ? cell.achieved : cell.rate }))
      .filter((cell) => cell.x !== null)
      .filter((cell) => !rated || `${cell.dataset} · ${noiseLabel(cell.noise)}` === family)
      .sort((a, b) => a.x - b.x);
    if (!cells.length) return nothing("Nobody knows the noise rate of these labels.");
    const lines = drawnRows().map((number) => ({
      number,
      points: cells.map((cell) => ({ x: cell.x, score: inCell(cell.number).rows[number] })).filter((p) => p.score),
    })).filter((line) => line.points.length);
    if (!lines.length) return nothing("No method with runs is ticked.");
    const values = lines.flatMap((line) => line.points.flatMap((p) => p.score.mean.filter((v) => v !== null)));
    const xs = cells.map((cell) => cell.x);
    const { svg, sx, sy } = frame(width,
      { domain: widen(xs, 0.06, 0.1), label: rated ? "noise rate, %" : "achieved noise rate, %", format: (v) => +(100 * v).toFixed(1), at: unique(xs) },
      { domain: widen(values, 0.06, 0.02), format: (v) => +(100 * v).toFixed(1) }, "Test accuracy against noise rate");
    for (const { number, points } of lines) {
      const place = colour(number);
      svg.append(drawing("path", { class: `lines s${place}`, d: path(points.map((p) => [p.x, p.score.mean[0]]), sx, sy) }));
      for (const { x, score } of points) {
        const [value, low, high] = score.mean;
        if (low !== null) svg.append(drawing("line", { class: `lines s${place}`, x1: sx(x), x2: sx(x), y1: sy(low), y2: sy(high) }));
        svg.append(mark(place, sx(x), sy(value), `${nameOf(number)}: ${percent(value)} % at ${+(100 * x).toFixed(1)} % noise, ${score.n} runs`));
      }
    }
    return svg;
  });
  return redraw;
}

const COSTS = {
  forwards: { label: "forward passes per training step", of: (row) => row.forwards, format: (v) => +v.toPrecision(2) },
  seconds: { label: "training time per run, s (devices may differ)", of: (row) => row.seconds, format: (v) => +v.toPrecision(2) },
  clean: { label: "clean labels used", of: (row) => row.clean, format: (v) => +v.toPrecision(3), linear: true },
};

function costPlot() {
  const figure = byId("plot-cost");
  let kind = "forwards";
  choice(figure, "Cost", Object.entries(COSTS).map(([id, cost]) => [id, cost.label]), (value) => { kind = value; redraw(); });
  const redraw = chart(figure, (width) => {
    const cost = COSTS[kind];
    const points = scope().rows
      .map((score, number) => score && { number, x: cost.of(data.rows[number]), y: score.mean[0], score })
      .filter((p) => p && p.x !== null && (cost.linear || p.x > 0));
    if (!points.length) return nothing("No method has runs in every cell.");
    const xs = points.map((p) => p.x);
    const spread = cost.linear ? widen(xs, 0.08, 1) : [Math.min(...xs) / 1.25, Math.max(...xs) * 1.25];
    const { svg, sx, sy } = frame(width,
      { domain: spread, label: cost.label, format: cost.format, log: !cost.linear, at: cost.linear ? null : logTicks(...spread) },
      { domain: widen(points.map((p) => p.y), 0.12, 0.02), format: (v) => +(100 * v).toFixed(1) }, "Test accuracy against cost");
    const front = [];
    for (const p of [...points].sort((a, b) => a.x - b.x || b.y - a.y)) {
      if (!front.length || p.y > front.at(-1).y) front.push(p);
    }
    svg.append(drawing("path", { class: "front", d: path(front.map((p) => [p.x, p.y]), sx, sy) }));
    for (const p of points) {
      const title = `${nameOf(p.number)}: ${percent(p.y)} %, ${cost.format(p.x)} ${cost.label}`;
      const place = colour(p.number);
      if (place < 0) svg.append(drawing("circle", { class: "f7", cx: sx(p.x), cy: sy(p.y), r: 2.5, opacity: 0.6 }, drawing("title", {}, title)));
      else svg.append(mark(place, sx(p.x), sy(p.y), title));
    }
    const labelled = front.filter((p) => colour(p.number) >= 0);
    for (const p of labelled) {
      const atEnd = sx(p.x) > width - 110;
      svg.append(drawing("text", { class: "strong", x: sx(p.x) + (atEnd ? -9 : 9), y: sy(p.y) - 8, "text-anchor": atEnd ? "end" : "start" }, shorten(nameOf(p.number))));
    }
    return svg;
  });
  return redraw;
}

const shorten = (name) => (name.length > 22 ? `${name.slice(0, 21)}…` : name);

function logTicks(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const digit of high / low > 30 ? [1] : [1, 2, 3, 5]) {
      const value = digit * 10 ** power;
      if (value >= low && value <= high) found.push(value);
    }
  }
  return found;
}

// The mean of a curve over a row's seeds in a cell, with the span of all seeds.
function meanCurve(number, cell, value) {
  const runs = runsOf[number].filter((run) => run.cell === cell);
  if (!runs.length) return null;
  const grid = data.grids[runs[0].epochs];
  const points = grid.map((epoch, k) => {
    const values = runs.map((run) => value(run, k)).filter((v) => v !== null && v !== undefined);
    if (values.length < runs.length) return { epoch, mean: null };
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    return { epoch, mean, low: Math.min(...values), high: Math.max(...values) };
  });
  return points.some((p) => p.mean !== null) ? { number, points } : null;
}

const curve = (name) => (run, k) => (run.curves[name] ? at(run.curves[name][k]) : null);
const at = (stored) => (stored === null || stored === undefined ? null : stored / data.unit);

const difference = (of, minus) => (run, k) => {
  const [more, less] = [curve(of)(run, k), curve(minus)(run, k)];
  return more === null || less === null ? null : more - less;
};

// A panel of curves from data: {title, of} or, for a difference, {title, of, minus}.
function panelOf({ title, of, minus, fraction = true }) {
  const unit = minus ? ", points" : fraction ? ", %" : "";
  return { label: title + unit, fraction, value: minus ? difference(of, minus) : curve(of) };
}

function curvesPlot() {
  const figure = byId("plot-curves");
  let cell = data.cells.length - 1;
  const panels = data.plots.panels.map(panelOf);
  let panel = data.plots.first;
  const cells = data.cells.map((c, number) => [number, c.label]);
  const select = choice(figure, "Cell", cells, (value) => { cell = +value; redraw(); });
  select.value = String(cell);
  choice(figure, "Right panel", panels.map((p, number) => [number, p.label]), (value) => { panel = +value; redraw(); }).value = String(panel);
  const redraw = chart(figure, (width) => {
    const each = width >= 700 ? (width - 16) / 2 : width;
    const side = element("div", { class: "panels" });
    side.append(curvesPanel(each, panelOf(data.plots.accuracy), cell));
    side.append(curvesPanel(each, panels[panel], cell));
    return side;
  });
  return redraw;
}

function curvesPanel(width, { label, value, fraction }, cell, extra = []) {
  const lines = drawnRows().map((number) => meanCurve(number, cell, value)).filter(Boolean);
  const panel = element("div", {}, element("p", { class: "fine" }, label));
  if (!lines.length) return fill(panel, [nothing("None of the methods drawn has this curve.")]);
  const shown = [...lines, ...extra].flatMap((line) => line.points.filter((p) => p.mean !== null));
  const last = Math.max(...shown.map((p) => p.epoch)) + 1;
  const { svg, sx, sy } = frame(width,
    { domain: [1, last], label: "epoch", format: (v) => Math.round(v) },
    { domain: widen(shown.flatMap((p) => [p.low, p.high]), 0.04, 0.02), format: (v) => (fraction ? +(100 * v).toFixed(1) : +v.toPrecision(3)) }, `${label} by epoch`);
  for (const { number, points } of lines) {
    const known = points.filter((p) => p.mean !== null);
    const band = path(known.map((p) => [p.epoch + 1, p.high]), sx, sy) + path([...known].reverse().map((p) => [p.epoch + 1, p.low]), sx, sy).replace("M", "L") + "Z";
    svg.append(drawing("path", { class: `band f${colour(number)}`, d: band }));
  }
  for (const { number, points, dashed } of [...lines, ...extra]) {
    svg.append(drawing("path", { class: dashed ? "lines s7 dashed" : `lines s${colour(number)}`, d: path(points.map((p) => [p.epoch + 1, p.mean]), sx, sy) },
      drawing("title", {}, nameOf(number))));
  }
  return fill(panel, [svg]);
}

function labelsPlot() {
  const figure = byId("plot-labels");
  let cell = data.cells.length - 1;
  const select = choice(figure, "Cell", data.cells.map((c, number) => [number, c.label]), (value) => { cell = +value; redraw(); });
  select.value = String(cell);
  const redraw = chart(figure, (width) => {
    const { line, dashed } = data.plots.labels;
    const given = drawnRows().map((number) => meanCurve(number, cell, curve(dashed))).filter(Boolean).slice(0, 1);
    return curvesPanel(width, panelOf({ title: "training labels right", of: line }), cell, given.map((each) => ({ ...each, dashed: true })));
  });
  return redraw;
}

function ranksPlot() {
  return chart(byId("plot-ranks"), (width) => {
    const { rows, ties } = scope();
    const all = rows.map((score, number) => score && { number, rank: score.meanRank }).filter(Boolean).sort((a, b) => a.rank - b.rank || a.number - b.number);
    if (all.length < 2) return nothing("Fewer than two methods have runs in every cell.");
    const limit = 16; // a line each; more would be a wall of names
    const shown = all.slice(0, limit);
    const line = 24;
    const left = Math.min(170, width * 0.4);
    const lanes = ties.filter((group) => group.filter((n) => shown.some((p) => p.number === n)).length > 1);
    const laneSpace = Math.min(lanes.length, 8) * 10;
    const right = width - 16 - laneSpace;
    const most = Math.ceil(Math.max(...shown.map((p) => p.rank), 2));
    const sx = (rank) => left + ((rank - 1) / (most - 1)) * (right - left);
    const height = 34 + shown.length * line;
    const svg = drawing("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Mean rank of each method, 1 is best" });
    for (const tick of ticks(1, most, Math.max(2, Math.floor((right - left) / 60)))) {
      svg.append(drawing("line", { class: "axis", x1: sx(tick), x2: sx(tick), y1: 20, y2: height - 6 }));
      svg.append(drawing("text", { x: sx(tick), y: 12, "text-anchor": "middle" }, +tick.toFixed(2)));
    }
    const yOf = new Map(shown.map((p, k) => [p.number, 34 + k * line]));
    for (const p of shown) {
      const y = yOf.get(p.number);
      const place = colour(p.number);
      const clean = data.rows[p.number].clean ? " *" : "";
      svg.append(drawing("line", { class: "axis", x1: left, x2: sx(p.rank), y1: y, y2: y }));
      svg.append(drawing("text", { class: "strong", x: left - 12, y: y + 4, "text-anchor": "end" }, shorten(nameOf(p.number)) + clean));
      svg.append(place < 0 ? drawing("circle", { class: "f7", cx: sx(p.rank), cy: y, r: 4 }) : mark(place, sx(p.rank), y, `${nameOf(p.number)}: mean rank ${p.rank}`));
    }
    lanes.slice(0, 8).forEach((group, lane) => {
      const ys = group.filter((n) => yOf.has(n)).map((n) => yOf.get(n));
      const x = width - 8 - lane * 10;
      svg.append(drawing("line", { class: "bar", x1: x, x2: x, y1: Math.min(...ys), y2: Math.max(...ys) }));
    });
    const more = all.length > limit ? ` The best ${limit} of ${all.length} are drawn.` : "";
    return [svg, element("p", { class: "fine" }, `1 is best, over all rows that have runs in every cell; * uses clean labels.${more}`)];
  });
}
