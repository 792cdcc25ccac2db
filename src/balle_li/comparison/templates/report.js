"use strict";
// What the page does: it draws the charts that it shows, chooses sets and anchors, and lets the views of a picture zoom and move together.
// The last is made by hand, as no library in the lock file has a viewer of several pictures that are looked at as one.

const DATA = JSON.parse(document.getElementById("data").textContent);
const FARTHEST = 16;

function element(tag, attributes = {}, ...children) {
  const svg = ["svg", "rect", "title"].includes(tag);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else made.setAttribute(name, value);
  }
  made.append(...children.filter(Boolean));
  return made;
}

// Plotly measures the place of a chart, so a chart is drawn when its set is first shown.
function drawCharts(root) {
  for (const place of root.querySelectorAll(".chart")) {
    const source = place.querySelector("script");
    if (!source) continue;
    const { data, layout } = JSON.parse(source.textContent);
    source.remove();
    Plotly.newPlot(place, data, layout, { responsive: true, displaylogo: false });
  }
}

for (const select of document.querySelectorAll("select[data-shows]")) {
  const name = `data-${select.dataset.shows}`;
  select.addEventListener("change", () => {
    for (const part of document.querySelectorAll(`[${name}]`)) part.hidden = part.getAttribute(name) !== select.value;
    document.querySelectorAll("main:not([hidden])").forEach(drawCharts);
  });
}

function view(image, entry, state, withBoxes) {
  const layer = element("div", { class: "layer" }, element("img", { src: image, alt: "", loading: "lazy", draggable: "false" }));
  if (withBoxes) {
    const boxes = entry.boxes.map((box) => element("rect", {
      x: box.xmin * 100, y: box.ymin * 100, width: (box.xmax - box.xmin) * 100, height: (box.ymax - box.ymin) * 100,
    }, element("title", {}, box.label)));
    layer.append(element("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none" }, ...boxes));
  }
  const frame = element("div", { class: "view" }, layer);
  frame.style.aspectRatio = `${entry.width} / ${entry.height}`;
  state.layers.push(layer);
  frame.addEventListener("wheel", (event) => {
    event.preventDefault();
    const place = frame.getBoundingClientRect();
    zoom(state, event.deltaY < 0 ? 1.25 : 0.8, (event.clientX - place.left) / place.width, (event.clientY - place.top) / place.height);
  }, { passive: false });
  frame.addEventListener("pointerdown", (event) => frame.setPointerCapture(event.pointerId));
  frame.addEventListener("pointermove", (event) => {
    if (event.buttons) move(state, state.x + event.movementX / frame.clientWidth, state.y + event.movementY / frame.clientHeight);
  });
  return frame;
}

// x and y are the layer's offset in fractions of the view, about a point (atX, atY) of it that stays where it is.
function zoom(state, factor, atX = 0.5, atY = 0.5) {
  const scale = Math.min(Math.max(state.scale * factor, 1), FARTHEST), grown = scale / state.scale;
  state.scale = scale;
  move(state, atX - (atX - state.x) * grown, atY - (atY - state.y) * grown);
}

function move(state, x, y) {
  state.x = Math.min(0, Math.max(1 - state.scale, x));
  state.y = Math.min(0, Math.max(1 - state.scale, y));
  for (const layer of state.layers) {
    layer.style.transform = `translate(${state.x * 100}%, ${state.y * 100}%) scale(${state.scale})`;
    layer.classList.toggle("near", state.scale > 2);
  }
}

function caption(name, text) { return element("figcaption", {}, element("b", {}, name), ` ${text}`); }

function shown(values) {
  const told = Object.entries(DATA.metrics).filter(([name]) => typeof values[name] === "number").map(
    ([name, { title, unit, digits }]) => `${unit ? "" : `${title} `}${values[name].toFixed(digits)} ${unit}`.trim());
  return [`${values.bpp.toFixed(3)} bpp`, ...told].join(", ");
}

function bits(entry) {
  const percent = (fraction) => `${Math.round(100 * fraction)} %`;
  const inside = entry.bits_inside === null ? "" : `; ${percent(entry.bits_inside)} of them in boxes, ${percent(entry.area_inside)} of the area`;
  return `0 to ${entry.most_bpp.toFixed(2)} per pixel${inside}`;
}

// other: the entry of another run for the same picture and that run's label, or null.
function pictureRow(entry, label, other, withBoxes) {
  const state = { scale: 1, x: 0, y: 0, layers: [] };
  const one = (key, owner, name, text, boxes = false) => owner.images[key] && element("figure", {},
    view(DATA.images[owner.images[key]], owner, state, boxes && withBoxes), caption(name, text));
  const views = [
    one("original", entry, "Original", "", true), one("model", entry, label, shown(entry.model)),
    other && one("model", other.entry, other.label, shown(other.entry.model)),
    one("jpeg", entry, `JPEG, ${entry.jpeg.setting}`, shown(entry.jpeg)),
    one("bits", entry, "Bits", bits(entry), true), one("importance", entry, "Importance", "0 to 1"),
  ];
  const { title, unit, digits } = DATA.metrics[entry.gain_metric];
  const gain = entry.gain === null ? "" : `${entry.gain >= 0 ? "+" : "−"}${Math.abs(entry.gain).toFixed(digits)} ${unit || title} against JPEG`;
  const button = (text, act) => element("button", { type: "button", click: act }, text);
  return element("div", { class: "picture" },
    element("h3", {}, entry.image_id, element("small", {}, gain),
      button("+", () => zoom(state, 2)), button("−", () => zoom(state, 0.5)), button("whole", () => zoom(state, 1 / FARTHEST))),
    element("div", { class: "views" }, ...views));
}

for (const main of document.querySelectorAll("main")) {
  const examples = DATA.examples[main.dataset.set], pick = (name) => main.querySelector(`[data-pick="${name}"]`);
  const draw = () => {
    const run = pick("run").value, other = pick("other").value;
    const find = (entry) => other && examples[other].find((candidate) => candidate.image_id === entry.image_id);
    main.querySelector("[data-examples]").replaceChildren(...examples[run].map((entry) => {
      const found = find(entry);
      return pictureRow(entry, DATA.labels[run], found ? { entry: found, label: DATA.labels[other] } : null, pick("boxes").checked);
    }));
  };
  if (!pick("run")) continue;
  for (const name of ["run", "other", "boxes"]) pick(name).addEventListener("change", draw);
  draw();
}
document.querySelectorAll("main:not([hidden])").forEach(drawCharts);
