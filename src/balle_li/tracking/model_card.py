"""MODEL_CARD.md: what a trained model is, what it learned from, how good it is, where it fails and how to make it again."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from balle_li.codec.model_folder import ModelFolder
from balle_li.config import SPLITS
from balle_li.data.manifest import ManifestRow, read_manifest
from balle_li.evaluation.metrics import INSIDE, OUTSIDE, facts_in
from balle_li.files import read_json

WORST_CLASSES = 5
_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Origin:
    """Where a model comes from, and where it goes: the version that it is registered as.

    parameters: params.yaml as the run saw it. tags: those of `run.origin_tags`.
    """

    registered_name: str
    version: str
    run_id: str
    parameters: Mapping[str, Any]
    tags: Mapping[str, str]


def write_card(model: Path, curated: Path, evaluation: Path, origin: Origin) -> str:
    """The card in Markdown, from the model folder, the manifest and what the evaluation measured.

    Raises BalleLiError: one of the folders lacks a file, or the model is damaged.
    """
    folder = ModelFolder.load(model)
    training = read_json(model / "training.json")
    metrics = read_json(evaluation / "metrics.json")
    rows = read_manifest(curated / "manifest.parquet")
    sections = {
        "Use": _use(f"models:/{origin.registered_name}/{origin.version}", folder),
        "Data": _data(rows, origin),
        "Training": _training(training, origin),
        "Metrics": _metrics(metrics),
        "Limits": _limits(folder, metrics),
        "Reproduce": _reproduce(origin),
    }
    what = f"{folder.name}, lmbda {folder.trained_for['lmbda']:g}"
    title = f"# {origin.registered_name} version {origin.version}: {what}"
    body = "\n\n".join(f"## {heading}\n\n{text}" for heading, text in sections.items())
    return f"{title}\n\n{body}\n"


def _use(address: str, folder: ModelFolder) -> str:
    return (
        f"A lossy codec for photographs: the autoencoder `{folder.name}` ({folder.setting}) and an entropy coder. "
        f"Its streams (`.bli`) carry the fingerprint "
        f"`{folder.fingerprint.hex()}`, and only models of that fingerprint decode them.\n\n"
        "```bash\n"
        f"balle-li compress photo.jpg photo.bli --model {address}\n"
        f"balle-li decompress photo.bli photo.png --model {address}\n"
        "```"
    )


def _data(rows: list[ManifestRow], origin: Origin) -> str:
    source = origin.parameters.get("dataset", {}).get("source", _UNKNOWN)
    labelled = sum(bool(row["boxes"]) for row in rows)
    boxes = Counter(box.label for row in rows for box in row["boxes"])
    frequent = ", ".join(f"{label} ({count})" for label, count in boxes.most_common(10))
    by_licence = {
        split: Counter(row["licence"] or _UNKNOWN for row in rows if row["split"] == split) for split in SPLITS
    }
    licences = sorted(set().union(*by_licence.values()), key=lambda licence: (licence == _UNKNOWN, licence))
    table = [[licence, *(by_licence[split][licence] for split in SPLITS)] for licence in licences]
    table.append(["all", *(by_licence[split].total() for split in SPLITS)])
    authors = {row["author"] for row in rows if row["author"]}
    text = (
        f"{len(rows)} pictures of the source `{source}`, {labelled} of them with {boxes.total()} boxes"
        f"{f': {frequent}' if frequent else ''}. Trained on the split train, chosen on validation, measured on test.\n\n"
        f"{_table(['licence', *SPLITS], table)}\n\n"
        f"{len(authors)} authors; `data/01_raw/ATTRIBUTION.md` names the author, licence and source of every picture."
    )
    unknown = by_licence["train"][_UNKNOWN]
    return text + (f" {unknown} training pictures state no licence." if unknown else "")


def _training(training: Mapping[str, Any], origin: Origin) -> str:
    facts = {
        "steps": training["steps"],
        "best step, by validation": training["best_step"],
        "device": training["device"],
        "precision": training["precision"],
        "minutes": f"{training['seconds'] / 60:.1f}",
        "started from": origin.parameters.get("train", {}).get("init_from") or "scratch",
    }
    validation = training.get("validation")
    if validation:
        facts["validation at the best step"] = f"{validation['bpp']:.3f} bpp, {validation['psnr']:.2f} dB"
    return _table(["", ""], facts.items())


def _metrics(metrics: Mapping[str, Any]) -> str:
    model, baseline = metrics["model"], metrics["jpeg"]["at_equal_bpp"]
    names = {
        "bpp": ("bits per pixel of the file", ".3f"),
        **_rows_of_metrics(metrics),
        "compression_ratio": ("source file / stream", ".1f"),
        "encode_ms": ("encoding a picture, ms", ".0f"),
        "decode_ms": ("decoding a picture, ms", ".0f"),
    }
    rows = [
        [title, _number(model.get(name), form), _number(baseline.get(name), form)]
        for name, (title, form) in names.items()
    ]
    against = [found["verdict"] for found in metrics["baselines"].values()]
    told = [*metrics["jpeg"]["verdict"], *_variable_rate(metrics), *against]
    sentences = "\n".join(f"- {sentence}" for sentence in told)
    table = _table(["mean of the test pictures", "model", "JPEG at the same bpp"], rows)
    return f"{metrics['counts']['pictures']} test pictures (set `{metrics['test_set']}`).\n\n{table}\n\n{sentences}"


def _rows_of_metrics(metrics: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Titles and number formats of the measured metrics, by their columns."""
    rows = {}
    for facts in facts_in(metrics):
        unit, form = f", {facts.unit}" if facts.unit else "", f".{facts.digits}f"
        rows[facts.name] = (f"{facts.title}{unit}", form)
        if facts.regions:
            rows[facts.name + INSIDE] = (f"{facts.title} inside boxes{unit}", form)
            rows[facts.name + OUTSIDE] = (f"{facts.title} outside boxes{unit}", form)
    return rows


def _variable_rate(metrics: Mapping[str, Any]) -> list[str]:
    """What only variable-rate models have: a curve, and pictures that were given their boxes."""
    sentences = []
    for facts in facts_in(metrics):
        found = metrics.get("bd_rate", {}).get(facts.name, {})
        if found.get("percent") is not None:
            warning = f" ({found['warning']})" if found.get("warning") else ""
            sentences.append(f"BD-rate by {facts.title} against JPEG: {found['percent']:+.1f} %{warning}.")
    boxes = metrics.get("with_boxes", {})
    if boxes.get("gain_inside") is not None and boxes.get("loss_outside") is not None:
        sentences.append(
            f"Given the boxes, at equal size: {boxes['gain_inside']:+.2f} dB inside them, "
            f"{-boxes['loss_outside']:+.2f} dB outside."
        )
    return sentences


def _limits(folder: ModelFolder, metrics: Mapping[str, Any]) -> str:
    pictures = metrics["counts"]["pictures"]
    limits = [
        f"Lossy, and trained for {_loss(folder)}: fine texture and small print are smoothed. Not for pictures whose single "
        "pixels are evidence.",
        f"The metrics are means over {pictures} pictures of one source; other pictures may give better or worse ones.",
    ]
    for facts in (facts for facts in facts_in(metrics) if facts.regions):
        entries = [entry for entry in metrics.get("per_class", []) if entry.get(facts.name) is not None]
        worst = sorted(entries, key=lambda entry: entry[facts.name], reverse=not facts.higher_is_better)[:WORST_CLASSES]
        if worst:
            named = ", ".join(f"{entry['label']} {facts.show(entry[facts.name])}" for entry in worst)
            limits.append(f"The classes with the worst {facts.title}: {named}.")
    if not folder.model.latent_codec.variable_rate:
        limits.append(f"One rate, that of lmbda {folder.trained_for['lmbda']:g}: for other rates train other models.")
    if not folder.model.latent_codec.portable:
        limits.append(
            "Its entropy model computes in floats: a stream decodes on the kind of processor, and with the number of threads, "
            "that coded it. Elsewhere decoding may end in an error; a checksum keeps it from ending in a broken picture."
        )
    return "\n".join(f"- {limit}" for limit in limits)


def _loss(folder: ModelFolder) -> str:
    weight = folder.trained_for["ms_ssim_weight"]
    return f"squared errors and an MS-SSIM loss (weight {weight:g})" if weight > 0 else "the mean squared error"


def _reproduce(origin: Origin) -> str:
    import yaml

    tags = {"MLflow run": origin.run_id, **origin.tags}
    parameters = yaml.safe_dump(dict(origin.parameters), sort_keys=False, allow_unicode=True).strip()
    return (
        f"{_table(['', ''], tags.items())}\n\n"
        "Check out the commit, put these parameters in `params.yaml` and run `dvc repro`:\n\n"
        f"```yaml\n{parameters}\n```"
    )


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _table(header: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
