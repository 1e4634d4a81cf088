// Drawing: scales, axes, marks. Charts are drawn at the width they have, so text keeps its size on a phone.
const MARKS = [
  (r) => `M0,${-r}A${r},${r} 0 1 1 0,${r}A${r},${r} 0 1 1 0,${-r}`,
  (r) => `M${-r},${-r}H${r}V${r}H${-r}Z`,
  (r) => `M0,${-1.3 * r}L${1.2 * r},${0.9 * r}H${-1.2 * r}Z`,
  (r) => `M0,${-1.4 * r}L${1.4 * r},0L0,${1.4 * r}L${-1.4 * r},0Z`,
  (r) => `M0,${1.3 * r}L${1.2 * r},${-0.9 * r}H${-1.2 * r}Z`,
  (r) => `M${-r},${-0.4 * r}H${-0.4 * r}V${-r}H${0.4 * r}V${-0.4 * r}H${r}V${0.4 * r}H${0.4 * r}V${r}H${-0.4 * r}V${0.4 * r}H${-r}Z`,
  (r) => `M${-1.3 * r},0L0,${-0.7 * r}L${1.3 * r},0L0,${0.7 * r}Z`,
  (r) => `M${-0.5 * r},${-1.3 * r}H${0.5 * r}V${1.3 * r}H${-0.5 * r}Z`,
];

const mark = (place, x, y, title, radius = 4.5) =>
  drawing("path", { d: MARKS[place](radius), class: `f${place}`, transform: `translate(${x},${y})` },
    title ? drawing("title", {}, title) : null);

// Round numbers that cover [low, high], about `count` of them.
function ticks(low, high, count) {
  const raw = (high - low) / count || 1e-3;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= raw) * power;
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k += 1) found.push(k * step);
  return found;
}

function widen(values, margin, least) {
  let low = Math.min(...values);
  let high = Math.max(...values);
  const extra = Math.max((high - low) * margin, (least - (high - low)) / 2, 0);
  return [low - extra, high + extra];
}

// A frame with axes: x and y are {domain, label, log, format, at}; gives the scales and the svg to draw in.
function frame(width, x, y, description, height = 260) {
  const space = { left: 46, right: 14, top: 12, bottom: 40 };
  const inner = { width: Math.max(60, width - space.left - space.right), height: height - space.top - space.bottom };
  const along = (axis, value) => {
    const place = axis.log ? Math.log : (v) => v;
    const [low, high] = axis.domain.map(place);
    return high === low ? 0.5 : (place(value) - low) / (high - low);
  };
  const sx = (value) => space.left + along(x, value) * inner.width;
  const sy = (value) => space.top + (1 - along(y, value)) * inner.height;
  const svg = drawing("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": description });
  for (const value of y.at || ticks(...y.domain, 5)) {
    svg.append(drawing("line", { class: "axis", x1: space.left, x2: width - space.right, y1: sy(value), y2: sy(value) }));
    svg.append(drawing("text", { x: space.left - 8, y: sy(value) + 4, "text-anchor": "end" }, y.format(value)));
  }
  for (const value of x.at || ticks(...x.domain, Math.max(2, Math.floor(inner.width / 70)))) {
    svg.append(drawing("text", { x: sx(value), y: height - space.bottom + 18, "text-anchor": "middle" }, x.format(value)));
  }
  svg.append(drawing("text", { x: space.left + inner.width / 2, y: height - 4, "text-anchor": "middle" }, x.label));
  return { svg, sx, sy };
}

const path = (points, sx, sy) => {
  let pen = "M";
  let d = "";
  for (const [px, py] of points) {
    if (py === null || py === undefined) { pen = "M"; continue; }
    d += `${pen}${sx(px).toFixed(1)},${sy(py).toFixed(1)}`;
    pen = "L";
  }
  return d;
};

// Half a sentence of a chart where there is nothing to draw.
const nothing = (text) => element("p", { class: "none" }, text);

function whisker(interval, limit) {
  const width = 92;
  const at = (value) => width / 2 + (Math.max(-limit, Math.min(limit, value)) / limit) * (width / 2 - 4);
  const [value, low, high] = interval;
  const tone = low === null || (low <= 0 && high >= 0) ? "f7" : value > 0 ? "f2" : "f1";
  return drawing("svg", { class: "whisker", width, height: 12, "aria-hidden": "true" },
    drawing("line", { class: "zero", x1: width / 2, x2: width / 2, y1: 0, y2: 12 }),
    low === null ? null : drawing("line", { class: `lines s${tone[1]}`, x1: at(low), x2: at(high), y1: 6, y2: 6 }),
    drawing("circle", { class: tone, cx: at(value), cy: 6, r: 3.5 }));
}

// Redraw when a chart's width changes; draw(width) gives nodes.
function chart(figure, draw) {
  const body = element("div");
  figure.append(body);
  let width = 0;
  const redraw = () => body.replaceChildren(...[draw(Math.max(240, body.clientWidth))].flat());
  new ResizeObserver(() => {
    if (body.clientWidth && body.clientWidth !== width) {
      width = body.clientWidth;
      redraw();
    }
  }).observe(body);
  return redraw;
}
