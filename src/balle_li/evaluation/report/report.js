"use strict";
// The page: one set of pictures at a time, drawn from the JSON in #data.

const DATA = JSON.parse(document.getElementById("data").textContent);
const RUNS = DATA.runs;
const MOST_NAMED = 4;  // runs in a line below a figure
const MOST_SIDE_BY_SIDE = 10;  // curves; with more, the charts stand below each other and are larger
const hidden = new Set(), hiddenClouds = new Set();
const by = (id) => document.getElementById(id);
const styleOf = (series) => DATA.styles[DATA.series.indexOf(series)];
const colour = (run) => styleOf(RUNS[run].series).colour;
const fixed = (digits, sign = false) => (value) => (value < 0 ? "−" : sign && value > 0 ? "+" : "") + Math.abs(value).toFixed(digits);
const count = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;

function fill(id, ...children) { by(id).replaceChildren(...children.filter(Boolean)); }

function options(id, entries, chosen) {
  fill(id, ...entries.map(([value, text]) => element("option", { value, selected: value === chosen ? "" : null }, text)));
}

// columns: [title, (row) => value, show, best: "high" | "low" | undefined, (row) => among which rows it is the best]
function table(id, rows, columns) {
  const isBest = (row, [, get, , wanted, group = () => ""]) => {
    const values = rows.filter((other) => group(other) === group(row)).map(get).filter((value) => typeof value === "number");
    return wanted && values.length > 1 && get(row) === Math[wanted === "high" ? "max" : "min"](...values);
  };
  fill(id, element("thead", {}, element("tr", {}, ...columns.map(([title]) => element("th", {}, title)))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...columns.map((column) => {
      const [, get, show] = column, value = get(row);
      const text = value === null || value === undefined ? "–" : show ? (typeof show === "function" ? show(value) : value) : value;
      return element("td", { class: typeof show === "string" ? show : isBest(row, column) ? "best" : null }, String(text));
    })))));
}

function from(id, file, runs) {
  const place = set() === "test" ? "" : `sets/${set()}/`;
  const labels = [...new Set(runs)].map((run) => `${RUNS[run].label} (run ${run.slice(0, 8)})`);
  const named = labels.length > MOST_NAMED ? `the ${labels.length} runs` : labels.join("; ");
  by(id).textContent = `From ${place}${file} of ${named}. Addresses are at the end.`;
}

const set = () => by("set").value;

function drawOverview(now) {
  const label = ["", (row) => RUNS[row.run].label];
  table("overview", now.overview, [label,
    ["bpp", (row) => row.bpp, fixed(3)], ["PSNR, dB", (row) => row.psnr, fixed(2)], ["MS-SSIM", (row) => row.ms_ssim, fixed(4)],
    ["ratio", (row) => row.compression_ratio, fixed(1)],
    ["fewer bits by PSNR, %", (row) => row.bits_saved_psnr, fixed(1, true), "high"],
    ["fewer bits by MS-SSIM, %", (row) => row.bits_saved_ms_ssim, fixed(1, true), "high"],
    ["lmbda", (row) => RUNS[row.run].lmbda, String], ["cost J", (row) => row.rd_cost, fixed(3), "low", (row) => RUNS[row.run].lmbda],
    ["encode, ms", (row) => row.encode_ms, fixed(0)], ["decode, ms", (row) => row.decode_ms, fixed(0)]]);
  const runs = now.overview.map((row) => row.run);
  from("overview-source", "metrics.json", runs);
  table("regions", now.overview, [label,
    ["inside", (row) => row.psnr_inside, fixed(2)], ["outside", (row) => row.psnr_outside, fixed(2)],
    ["boxes given: gain inside", (row) => row.with_boxes?.gain_inside, fixed(2, true), "high"],
    ["loss outside", (row) => row.with_boxes?.loss_outside, fixed(2)],
    ["size, % of the same file", (row) => row.with_boxes && 100 * row.with_boxes.bytes_ratio, fixed(1)]]);
  from("regions-source", "metrics.json", runs);
  const speed = (key) => now.overview.map((row) => ({ label: RUNS[row.run].label, colour: colour(row.run), value: row[`${key}_mps`], text: `${row[`${key}_mps`].toFixed(2)} megapixels/s` }));
  fill("speed", barChart(speed("encode"), "Encoding, megapixels/s"), barChart(speed("decode"), "Decoding, megapixels/s"));
  from("speed-source", "pictures.parquet", runs);
}

function curveLines(now) {
  const models = now.curves.map((curve) => {
    const { colour, mark, dashed } = styleOf(curve.name);
    return { ...curve, colour, mark, dash: dashed ? "7 4" : "", thick: true };
  });
  const classical = now.classical.map((curve, i) => ({ ...curve, colour: GREYS[i % GREYS.length][0], dash: GREYS[i % GREYS.length][1] }));
  return [...models, ...classical];
}

function drawCurves(now) {
  const lines = curveLines(now);
  const chart = (metric, title) => lineChart(lines.filter((line) => !hidden.has(line.title)).map((line) => ({
    ...line,
    points: line.points.filter((p) => p[metric] !== null).map((p) => ({
      x: p.bpp, y: p[metric],
      text: `${p.setting}\n${p.bpp.toFixed(3)} bpp, ${p.psnr.toFixed(2)} dB${p.ms_ssim === null ? "" : `, MS-SSIM ${p.ms_ssim.toFixed(4)}`}${p.run ? `\nrun ${p.run}` : ""}`,
    })),
  })), "bits per pixel", title);
  by("curves").classList.toggle("large", lines.length > MOST_SIDE_BY_SIDE);
  fill("curves", chart("psnr", "PSNR (dB)"), chart("ms_ssim_db", "MS-SSIM (dB)"));
  fill("curves-legend", ...legend(lines, hidden, () => drawCurves(now)));
  from("curves-source", "rd_curve.json", now.overview.map((row) => row.run));
  by("curves-source").textContent += ` Classical codecs: classical.json of run ${now.classical_from.slice(0, 8)}.`;
}

function drawBdRate(now) {
  const titles = Object.fromEntries([...now.curves, ...now.classical].map((curve) => [curve.name, curve.title]));
  const tested = now.bd_rate[by("anchor").value] || {};
  const notes = (row) => [row.psnr, row.ms_ssim].map((found, i) => found.warning && `${["PSNR", "MS-SSIM"][i]}: ${found.warning}`).filter(Boolean).join("; ");
  table("bd-rate", Object.entries(tested).map(([name, found]) => ({ name, ...found })), [
    ["", (row) => titles[row.name]],
    ["by PSNR, %", (row) => row.psnr.percent, fixed(1, true), "low"], ["by MS-SSIM, %", (row) => row.ms_ssim.percent, fixed(1, true), "low"],
    ["common range", (row) => 100 * Math.min(row.psnr.overlap, row.ms_ssim.overlap), (value) => `${value.toFixed(0)} %`],
    ["", notes, "note"]]);
  from("bd-rate-source", "rd_curve.json and classical.json", now.overview.map((row) => row.run));
}

function drawSpread(now) {
  const models = now.spread.filter((entry) => entry.run).map((entry) => entry.run);
  const rows = now.spread.map((entry) => ({ ...entry, ...(entry.run ? styleOf(RUNS[entry.run].series) : { colour: "#777", mark: "circle" }) }));
  const boxes = (key) => rows.filter((row) => row[key]).map((row) => ({ label: row.label, colour: row.colour, box: row[key] }));
  const similarity = boxes("ms_ssim");
  fill("boxes", similarity.length && boxChart(similarity, "MS-SSIM", fixed(4)), boxChart(boxes("compression_ratio"), "compression ratio (source file / stream)", fixed(1)));
  const clouds = rows.filter(({ points }) => points.length).map((row) => ({ ...row, title: row.label, names: row.pictures, cloud: true, thick: true }));
  const shown = clouds.filter(({ title }) => !hiddenClouds.has(title));
  fill("scatter", scatterChart(shown, "compression ratio (source file / stream)", "MS-SSIM over compression ratio"));
  fill("scatter-legend", ...legend(clouds, hiddenClouds, () => drawSpread(now)));
  from("spread-source", "pictures.parquet", models);
}

function drawShown(now) {
  const run = by("shown-run").value, other = by("shown-beside").value;
  if (!run) return fill("shown", element("p", {}, "No run kept pictures: evaluate once more with `dvc repro --force evaluate`."));
  const find = (entry) => other && now.shown[other].find((candidate) => candidate.image_id === entry.image_id);
  fill("shown", ...now.shown[run].map((entry) => {
    const found = find(entry);
    return pictureRow(entry, RUNS[run].label, found ? { entry: found, label: RUNS[other].label } : null, DATA.images, by("shown-boxes").checked);
  }));
  from("shown-source", "shown/ (shown.json and *.webp)", [run, other].filter(Boolean));
}

function draw() {
  const now = DATA.sets[set()];
  const out = now.left_out.length ? ` Left out, as not measured on these pictures: ${count(now.left_out.length, "run")}.` : "";
  by("summary").textContent = `${count(now.overview.length, "run")}, ${count(now.pictures, "picture")} of the set “${set()}”.${out} Made ${DATA.made}.`;
  const anchors = Object.keys(now.bd_rate), titles = Object.fromEntries([...now.curves, ...now.classical].map((c) => [c.name, c.title]));
  options("anchor", anchors.map((name) => [name, titles[name]]), "jpeg");
  const shown = Object.keys(now.shown).map((run) => [run, RUNS[run].label]);
  options("shown-run", shown);
  options("shown-beside", [["", "–"], ...shown]);
  drawOverview(now); drawCurves(now); drawBdRate(now); drawSpread(now); drawShown(now);
}

options("set", Object.keys(DATA.sets).map((name) => [name, name]));
by("set-choice").hidden = Object.keys(DATA.sets).length < 2;
by("set").addEventListener("change", draw);
by("anchor").addEventListener("change", () => drawBdRate(DATA.sets[set()]));
for (const id of ["shown-run", "shown-beside", "shown-boxes"]) by(id).addEventListener("change", () => drawShown(DATA.sets[set()]));
table("sources", Object.entries(RUNS).map(([id, run]) => ({ id, ...run })), [
  ["", (run) => run.label], ["run", (run) => run.id, "address"], ["name", (run) => run.name], ["started", (run) => run.started, "address"],
  ["files", (run) => `${run.source}/{metrics.json, rd_curve.json, classical.json, pictures.parquet, shown/}`, "address"]]);
draw();
