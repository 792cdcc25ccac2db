"use strict";
// The best and the worst pictures: views that zoom and move together.

const FARTHEST = 16;

function view(image, entry, state, withBoxes) {
  const layer = element("div", { class: "layer" }, element("img", { src: image, alt: "", loading: "lazy", draggable: "false" }));
  if (withBoxes) {
    const boxes = entry.boxes.map((box) => element("rect", {
      x: box.xmin * 100, y: box.ymin * 100, width: (box.xmax - box.xmin) * 100, height: (box.ymax - box.ymin) * 100, ...tip(box.label),
    }));
    layer.append(element("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", class: "overlay" }, ...boxes));
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
    if (!event.buttons) return;
    move(state, state.x + event.movementX / frame.clientWidth, state.y + event.movementY / frame.clientHeight);
  });
  return frame;
}

// x and y are the layer's offset in shares of the view, about a point (atX, atY) of it that stays where it is.
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

function figures(name, { bpp, psnr, ms_ssim: similarity }) {
  const same = similarity === null ? "" : `, MS-SSIM ${similarity.toFixed(4)}`;
  return element("figcaption", {}, element("b", {}, name), ` ${bpp.toFixed(3)} bpp, ${psnr.toFixed(2)} dB${same}`);
}

function bitsCaption(entry) {
  const per = (share) => `${Math.round(100 * share)} %`;
  const inside = entry.bits_inside === null ? "" : `; ${per(entry.bits_inside)} of them in boxes, ${per(entry.area_inside)} of the area`;
  return element("figcaption", {}, element("b", {}, "Bits"), ` 0 to ${entry.most_bpp.toFixed(2)} per pixel${inside}`);
}

// beside: the entry of another run for the same picture and that run's label, or null.
function pictureRow(entry, label, beside, images, withBoxes) {
  const state = { scale: 1, x: 0, y: 0, layers: [] };
  const one = (key, owner, caption, boxes = false) => element("figure", {}, view(images[owner.images[key]], owner, state, boxes && withBoxes), caption);
  const views = [
    one("original", entry, element("figcaption", {}, element("b", {}, "Original")), true),
    one("model", entry, figures(label, entry.model)),
    beside && one("model", beside.entry, figures(beside.label, beside.entry.model)),
    one("jpeg", entry, figures(`JPEG, ${entry.jpeg.setting}`, entry.jpeg)),
    one("bits", entry, bitsCaption(entry), true),
  ];
  const gain = `${entry.gain >= 0 ? "+" : "−"}${Math.abs(entry.gain).toFixed(2)} dB against JPEG`;
  const button = (text, act) => element("button", { type: "button", click: act }, text);
  return element("div", { class: "picture" },
    element("h3", {}, entry.image_id, element("small", {}, gain),
      button("+", () => zoom(state, 2)), button("−", () => zoom(state, 0.5)), button("whole", () => zoom(state, 1 / FARTHEST))),
    element("div", { class: "views" }, ...views.filter(Boolean)));
}
