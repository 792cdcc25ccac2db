"use strict";
// Charts as SVG, with a tip under the pointer. Sizes are in the units of the viewBox.

const LABELS = 240;  // width of the labels left of boxes and bars
const GREYS = [["#555", ""], ["#888", "6 3"], ["#555", "2 3"], ["#888", "8 3 2 3"], ["#aaa", ""], ["#aaa", "4 4"], ["#777", "1 4"]];

function element(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "line", "circle", "text", "rect"].includes(tag);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== null && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function tip(text) {
  const box = document.getElementById("tip");
  return {
    pointermove(event) {
      box.textContent = text;
      box.hidden = false;
      box.style.left = `${Math.min(event.clientX + 14, innerWidth - box.offsetWidth - 8)}px`;
      box.style.top = `${Math.min(event.clientY + 14, innerHeight - box.offsetHeight - 8)}px`;
    },
    pointerleave() { box.hidden = true; },
  };
}

// A mark about (x, y), by the name that the data's styles give it; r is half its width.
function mark(kind, x, y, r, attributes) {
  const outline = {
    square: `M${x - r},${y - r}h${2 * r}v${2 * r}h${-2 * r}z`,
    triangle: `M${x},${y - 1.2 * r}L${x + 1.2 * r},${y + r}H${x - 1.2 * r}z`,
    diamond: `M${x},${y - 1.3 * r}L${x + 1.3 * r},${y}L${x},${y + 1.3 * r}L${x - 1.3 * r},${y}z`,
    cross: `M${x - r},${y - r / 3}h${r - r / 3}v${r / 3 - r}h${2 * r / 3}v${r - r / 3}h${r - r / 3}v${2 * r / 3}h${r / 3 - r}v${r - r / 3}h${-2 * r / 3}v${r / 3 - r}h${r / 3 - r}z`,
  }[kind];
  return outline ? element("path", { d: outline, ...attributes }) : element("circle", { cx: x, cy: y, r, ...attributes });
}

// The start and the end of a label, where it is too long: labels often differ at their end alone.
function shortened(label, most = 36) {
  return label.length > most ? `${label.slice(0, most / 2 - 1)}…${label.slice(-most / 2)}` : label;
}

function ticks(low, high, count = 6) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => +((first + i) * step).toPrecision(10));
}

function extent(values, margin = 0.05) {
  const low = Math.min(...values), high = Math.max(...values);
  const room = (high - low || Math.abs(high) || 1) * margin;
  return [low - room, high + room];
}

function axes({ width, height, left, x, y, xLabel, title }) {
  const [right, top, bottom] = [10, 26, 40];
  const px = (value) => left + ((value - x[0]) / (x[1] - x[0])) * (width - left - right);
  const py = (value) => height - bottom - ((value - y[0]) / (y[1] - y[0])) * (height - top - bottom);
  const root = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  root.append(element("text", { x: left, y: 14, class: "title" }, title));
  for (const at of ticks(...x)) {
    root.append(element("line", { x1: px(at), x2: px(at), y1: top, y2: height - bottom, class: "grid" }));
    root.append(element("text", { x: px(at), y: height - bottom + 16, "text-anchor": "middle" }, String(at)));
  }
  root.append(element("text", { x: width - right, y: height - 6, "text-anchor": "end" }, xLabel));
  return { root, px, py, top, bottom };
}

function gridRows(chart, { width, left, y }) {
  for (const at of ticks(...y)) {
    chart.root.append(element("line", { x1: left, x2: width - 10, y1: chart.py(at), y2: chart.py(at), class: "grid" }));
    chart.root.append(element("text", { x: left - 6, y: chart.py(at) + 4, "text-anchor": "end" }, String(at)));
  }
}

// lines: [{title, colour, dash, thick, points: [{x, y, text}]}]
function lineChart(lines, xLabel, title) {
  const points = lines.flatMap((line) => line.points);
  if (!points.length) return element("p", {}, `${title}: no figures.`);
  const box = { width: 590, height: 390, left: 46, xLabel, title,
    x: [0, extent(points.map((p) => p.x))[1]], y: extent(points.map((p) => p.y)) };
  const chart = axes(box);
  gridRows(chart, box);
  for (const line of lines) {
    const path = line.points.map((p, i) => `${i ? "L" : "M"}${chart.px(p.x)},${chart.py(p.y)}`).join("");
    chart.root.append(element("path", { d: path, fill: "none", stroke: line.colour, "stroke-width": line.thick ? 2.4 : 1.4, "stroke-dasharray": line.dash }));
    for (const p of line.points) {
      const where = { cx: chart.px(p.x), cy: chart.py(p.y) };
      chart.root.append(mark(line.mark, where.cx, where.cy, line.thick ? 4.2 : 2.8, { fill: line.colour }));
      chart.root.append(element("circle", { ...where, r: 9, fill: "transparent", ...tip(`${line.title}\n${p.text}`) }));
    }
  }
  return chart.root;
}

// rows: [{label, colour, box: {low, first, median, third, high, outliers}}]
function boxChart(rows, title, show) {
  const values = rows.flatMap(({ box }) => [box.low, box.high, ...box.outliers]);
  const height = 70 + 30 * rows.length;
  const chart = axes({ width: 590, height, left: LABELS, x: extent(values), y: [rows.length, 0], xLabel: "", title });
  rows.forEach(({ label, colour, box }, row) => {
    const middle = chart.py(row + 0.5), { px } = chart;
    const line = (from, to, dy = 0, more = {}) => element("line", { x1: px(from), x2: px(to), y1: middle - dy, y2: middle + dy, stroke: colour, ...more });
    const text = `${label}\nmedian ${show(box.median)}, middle half ${show(box.first)} to ${show(box.third)}`;
    chart.root.append(
      element("text", { x: LABELS - 8, y: middle + 4, "text-anchor": "end" }, shortened(label)),
      line(box.low, box.first), line(box.third, box.high), line(box.low, box.low, 5), line(box.high, box.high, 5),
      element("rect", { x: px(box.first), y: middle - 9, width: Math.max(px(box.third) - px(box.first), 1), height: 18, fill: colour, "fill-opacity": 0.25, stroke: colour, ...tip(text) }),
      line(box.median, box.median, 9, { stroke: "#222", "stroke-width": 2 }),
      ...box.outliers.map((at) => element("circle", { cx: px(at), cy: middle, r: 3, fill: "none", stroke: colour, ...tip(`${label}\n${show(at)}`) })),
    );
  });
  return chart.root;
}

// clouds: [{label, colour, mark, points: [[x, y]], names, ellipse: [[x, y]]}]
function scatterChart(clouds, xLabel, title) {
  const all = clouds.flatMap((cloud) => [...cloud.points, ...cloud.ellipse]);
  if (!all.length) return element("p", {}, `${title}: no figures.`);
  const box = { width: 930, height: 520, left: 56, xLabel, title, x: extent(all.map((p) => p[0])), y: extent(all.map((p) => p[1])) };
  const chart = axes(box);
  gridRows(chart, box);
  for (const cloud of clouds.filter(({ points }) => points.length)) {
    const outline = cloud.ellipse.map(([x, y], i) => `${i ? "L" : "M"}${chart.px(x)},${chart.py(y)}`).join("");
    chart.root.append(element("path", { d: outline, fill: cloud.colour, "fill-opacity": 0.3 / clouds.length, stroke: cloud.colour, "stroke-width": 1.5 }));
    cloud.points.forEach(([x, y], i) => chart.root.append(mark(cloud.mark, chart.px(x), chart.py(y), 4, {
      fill: cloud.colour, "fill-opacity": 0.7, ...tip(`${cloud.label}\n${cloud.names[i]}: ${x.toFixed(1)} : 1, MS-SSIM ${y.toFixed(4)}`),
    })));
  }
  return chart.root;
}

// rows: [{label, colour, value, text}]
function barChart(rows, title) {
  const most = Math.max(...rows.map((row) => row.value));
  const chart = axes({ width: 590, height: 70 + 28 * rows.length, left: LABELS, x: [0, most * 1.05], y: [rows.length, 0], xLabel: "", title });
  rows.forEach(({ label, colour, value, text }, row) => {
    const middle = chart.py(row + 0.5);
    chart.root.append(
      element("text", { x: LABELS - 8, y: middle + 4, "text-anchor": "end" }, shortened(label)),
      element("rect", { x: LABELS, y: middle - 8, width: chart.px(value) - LABELS, height: 16, fill: colour, ...tip(`${label}\n${text}`) }),
    );
  });
  return chart.root;
}

function legend(lines, hidden, redraw) {
  return lines.map((line) => element("button", {
    type: "button", class: hidden.has(line.title) ? "off" : null,
    click() { hidden.has(line.title) ? hidden.delete(line.title) : hidden.add(line.title); redraw(); },
  }, element("svg", { viewBox: "0 0 30 12" },
    line.cloud ? null : element("line", { x1: 0, x2: 30, y1: 6, y2: 6, stroke: line.colour, "stroke-width": line.thick ? 2.4 : 1.4, "stroke-dasharray": line.dash }),
    mark(line.mark, 15, 6, line.thick ? 4.2 : 2.8, { fill: line.colour })), line.title));
}
