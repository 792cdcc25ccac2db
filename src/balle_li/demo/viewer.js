// One picture in several versions under draggable dividers, zoomed and moved together. Gradio gives `element`, `props`, `watch`.
const state = { key: "", scale: 0, x: 0, y: 0, cuts: [], overlay: "", shown: 0 };
const find = (selector) => element.querySelector(selector);
const view = () => (typeof props.value === "string" ? JSON.parse(props.value || "{}") : props.value || {});
const bounded = (value, low, high) => Math.min(Math.max(value, low), high);

function fit() {
  const { width, height } = view(), box = find(".stage").getBoundingClientRect();
  state.scale = Math.min(box.width / width, box.height / height);
  state.x = (box.width - width * state.scale) / 2;
  state.y = (box.height - height * state.scale) / 2;
}

function zoom(scale, x, y) {
  const { width, height } = view(), box = find(".stage").getBoundingClientRect();
  const smallest = Math.min(1, box.width / width, box.height / height) / 2;
  scale = bounded(scale, smallest, 32 / devicePixelRatio);
  state.x = x - ((x - state.x) * scale) / state.scale;
  state.y = y - ((y - state.y) * scale) / state.scale;
  state.scale = scale;
  place();
}

function place() {
  const box = find(".stage").getBoundingClientRect();
  const edges = [0, ...state.cuts, 1].map((cut) => cut * box.width);
  element.querySelectorAll(".layer").forEach((layer, i) => {
    layer.style.clipPath = `inset(0 ${box.width - edges[i + 1]}px 0 ${edges[i]}px)`;
    layer.querySelectorAll("img").forEach((img) => {
      img.style.transform = `translate(${state.x}px, ${state.y}px) scale(${state.scale})`;
      img.classList.toggle("pixels", state.scale * devicePixelRatio > 1.01);
    });
  });
  element.querySelectorAll(".name").forEach((name, i) => {
    name.style.left = `${edges[i]}px`;
    name.style.maxWidth = `${Math.max(0, edges[i + 1] - edges[i])}px`;
  });
  element.querySelectorAll(".cut").forEach((cut, i) => {
    cut.style.left = `${edges[i + 1]}px`;
    cut.setAttribute("aria-valuenow", Math.round(100 * state.cuts[i]));
  });
  find(".scale").textContent = `${Math.round(100 * state.scale * devicePixelRatio)} %`;
}

function picture(url, width, height, kind) {
  const img = new Image(width, height);
  img.className = kind;
  img.draggable = false;
  img.alt = "";
  img.src = url;
  return img;
}

async function draw() {
  const now = view(), turn = ++state.shown;
  if (!now.layers) return;
  const layers = now.layers.map(({ url }) => picture(url, now.width, now.height, "photo"));
  await Promise.allSettled(layers.map((img) => img.decode()));  // so that nothing flickers
  if (turn !== state.shown) return;
  const overlay = (now.overlays || []).find(({ title }) => title === state.overlay);
  const held = layers.map((img, i) => {
    const layer = document.createElement("div");
    layer.className = "layer";
    layer.append(img);
    if (overlay && i === now.ours) layer.append(picture(overlay.url, overlay.width, overlay.height, "overlay"));
    return layer;
  });
  const names = now.layers.map(({ title }) => Object.assign(document.createElement("span"), { className: "name", textContent: title }));
  const cuts = now.layers.slice(1).map(({ title }) => {
    const cut = Object.assign(document.createElement("div"), { className: "cut", tabIndex: 0 });
    cut.setAttribute("role", "slider");
    cut.setAttribute("aria-label", `divider before ${title}`);
    return cut;
  });
  if (cuts.length !== state.cuts.length) state.cuts = cuts.map((_, i) => (i + 1) / (cuts.length + 1));
  find(".stage").replaceChildren(...held, ...names, ...cuts);
  find(".stage").dataset.ready = now.layers.length;
  find(".choices").replaceChildren(...["", ...(now.overlays || []).map(({ title }) => title)].map((title) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: title || "Picture" });
    button.dataset.overlay = title;
    button.setAttribute("aria-pressed", title === (overlay ? state.overlay : ""));
    return button;
  }));
  find(".ramp").hidden = !overlay;
  if (overlay) {
    find(".ramp i").style.background = `linear-gradient(to right, ${overlay.ramp.join()})`;
    [find(".ramp .low").textContent, find(".ramp .high").textContent] = overlay.ends;
  }
  if (state.key !== now.key || !state.scale) {
    state.key = now.key;
    fit();
  }
  place();
}

element.addEventListener("click", ({ target }) => {
  const box = find(".stage").getBoundingClientRect();
  if (target.dataset.overlay !== undefined) {
    state.overlay = target.dataset.overlay;
    draw();
  } else if (target.dataset.zoom === "fit") {
    fit();
    place();
  } else if (target.dataset.zoom) {
    zoom(target.dataset.zoom / devicePixelRatio, box.width / 2, box.height / 2);
  }
});

element.addEventListener("wheel", (event) => {
  if (!event.target.closest(".stage") || !state.scale) return;
  event.preventDefault();
  const box = find(".stage").getBoundingClientRect();
  zoom(state.scale * Math.exp(-event.deltaY / 400), event.clientX - box.left, event.clientY - box.top);
}, { passive: false });

let drag = null;
element.addEventListener("pointerdown", (event) => {
  if (!event.target.closest(".stage") || event.button) return;
  const cut = [...element.querySelectorAll(".cut")].indexOf(event.target);
  drag = { cut, x: event.clientX - state.x, y: event.clientY - state.y };
  find(".stage").setPointerCapture(event.pointerId);
});
element.addEventListener("pointermove", (event) => {
  if (!drag) return;
  if (drag.cut < 0) [state.x, state.y] = [event.clientX - drag.x, event.clientY - drag.y];
  else {
    const box = find(".stage").getBoundingClientRect();
    move(drag.cut, (event.clientX - box.left) / box.width);
  }
  place();
});
for (const end of ["pointerup", "pointercancel"]) element.addEventListener(end, () => (drag = null));

element.addEventListener("keydown", (event) => {
  const cut = [...element.querySelectorAll(".cut")].indexOf(event.target);
  const step = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
  if (cut < 0 || !step) return;
  event.preventDefault();
  move(cut, state.cuts[cut] + step);
  place();
});

function move(cut, to) {
  state.cuts[cut] = bounded(to, state.cuts[cut - 1] ?? 0, state.cuts[cut + 1] ?? 1);
}

new ResizeObserver(() => view().layers && state.scale && (fit(), place())).observe(find(".stage"));
watch("value", draw);
draw();
