"""The evaluate stage: a model's codec on every test picture, through real files; baselines and classical codecs on the same.

It measures and leaves what it measured: `measurements.parquet`, streams and example pictures. `balle_li.comparison` makes
means, curves and pages of that.
"""

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from balle_li.codec.codec import choose_device
from balle_li.compute import cluster
from balle_li.config import TEST_SET, ComputeConfig, EvaluationConfig
from balle_li.data.manifest import ManifestRow
from balle_li.errors import ConfigError, StageError
from balle_li.evaluation import test_set
from balle_li.evaluation.codecs import codec
from balle_li.evaluation.examples import write_examples
from balle_li.evaluation.measurements import (
    EVALUATION_FILE,
    MEASUREMENTS_FILE,
    STREAMS,
    MeasurementCache,
    mark_compared,
    to_frame,
    write_measurements,
)
from balle_li.evaluation.measuring import (
    Measured,
    ModelUnderTest,
    Plan,
    Tested,
    measure_picture,
    model_of,
    reason_of,
)
from balle_li.evaluation.metrics import MetricFacts, all_facts
from balle_li.evaluation.published import kind_of
from balle_li.evaluation.test_set import PictureSet
from balle_li.files import write_bytes, write_json
from balle_li.progress import progress

if TYPE_CHECKING:
    import pandas as pd

SMALL = 1000
"""Files; fewer are measured sooner than worker processes start."""
SLOW = 30.0
"""Seconds of slow metrics on one core, from which worker processes are worth their start however few the files are."""
NAMED = 8
"""Pictures of which a message gives the names."""

logger = logging.getLogger(__name__)


@dataclass
class _Results:
    """What was measured of a set. `frames`: a table a picture, by image_id; `parts`: rows by codec of unfinished pictures;
    `left_out`: reasons by codec and image_id, under "" those of pictures that cannot be read."""

    frames: "dict[str, pd.DataFrame]" = field(default_factory=dict)
    parts: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    left_out: dict[str, dict[str, str]] = field(default_factory=dict)


def evaluate(
    raw: Path,
    curated: Path,
    model_folder: Path,
    baselines: Mapping[str, Path],
    config: EvaluationConfig,
    class_weights: Mapping[str, float],
    compute: ComputeConfig,
    folder: Path,
) -> None:
    """Measure a model, and `baselines`, other model folders by name, on the test split and on every extra set.

    Writes EVALUATION_FILE, `measurements.parquet`, `streams/*.bli` and `examples/` to `folder`, and those of an extra set to
    its folder `sets/<name>`. An interrupted evaluation resumes with the pictures that were not measured yet.

    Raises StageError: there is no model or no test picture yet, a test picture cannot be read, or the model takes no
    picture of a set; ConfigError: an extra set is not there, or a metric, codec or baseline is unavailable; BalleLiError:
    a model is damaged or the device is not there.
    """
    tested, device = Tested.of(model_folder), choose_device(config.device).type
    model, facts = model_of(tested, device, None), all_facts(config.metrics)
    classical, others = _classical(config), {name: Tested.of(path, baseline=True) for name, path in baselines.items()}
    told = {name: {"digest": one.digest, **_described(model_of(one, device, None))} for name, one in others.items()}
    _say_slow(facts)
    sets = [PictureSet.test_split(raw, curated)]
    sets += [PictureSet.folder(name, path) for name, path in config.extra_sets.items()]
    cache = MeasurementCache()
    plan = Plan(
        root=Path(),
        class_weights=dict(class_weights),
        metrics=tuple(fact.name for fact in facts),
        models={model.name: tested, **others},
        device=device,
        qualities=tuple(config.all_qualities),
        classical=classical,
    )
    for pictures in sets:
        own = replace(plan, root=pictures.root.resolve())
        results = _measure(own, pictures, model, compute, cache, folder / pictures.place / STREAMS)
        frame = mark_compared(_joined(results, pictures, model.name))
        facts_of_set = {
            "model": {"name": model.name, "steps": model.steps, **_described(model)},
            "baselines": told,
            "metrics": [asdict(fact) for fact in facts],
            **_pictures(pictures, frame, results.left_out),
        }
        write_measurements(folder / pictures.place / MEASUREMENTS_FILE, frame)
        write_examples(model, pictures, frame, facts, class_weights, config.pictures_on_page, folder / pictures.place)
        write_json(folder / pictures.place / EVALUATION_FILE, facts_of_set)
    cache.forget(tested.digest)


def _say_slow(facts: Sequence[MetricFacts]) -> None:
    for fact in (fact for fact in facts if fact.seconds_per_megapixel > 0):
        seconds = f"{fact.seconds_per_megapixel:g} s a megapixel of every decoded picture on one core"
        logger.info("%s is slow: about %s", fact.title, seconds)


def _described(model: ModelUnderTest) -> dict[str, Any]:
    """What a reader of the evaluation is told of a model."""
    trained_for = model.trained_for
    return {"setting": model.setting, "lmbda": trained_for["lmbda"], "kind": kind_of(trained_for)}


def _classical(config: EvaluationConfig) -> dict[str, tuple[float, ...]]:
    """JPEG at its configured qualities, the other codecs at theirs; one that is not installed is left out with a warning."""
    chosen: dict[str, tuple[float, ...]] = {"jpeg": tuple(config.all_jpeg_qualities)}
    for name in config.codecs:
        try:
            chosen.setdefault(name, codec(name).qualities)
        except ConfigError as error:
            logger.warning("%s", error)
    return chosen


def _measure(
    plan: Plan,
    pictures: PictureSet,
    model: ModelUnderTest,
    compute: ComputeConfig,
    cache: MeasurementCache,
    streams: Path,
) -> _Results:
    """Everything that is planned for the pictures of a set. What was measured before comes from the cache."""
    shutil.rmtree(streams, ignore_errors=True)
    results, jobs = _Results(), []
    with progress(f"{model.name} and others on {pictures.name}", len(pictures.rows), "pictures") as advance:

        def add(row: ManifestRow, measured: Measured, remaining: int) -> None:
            parts = results.parts.setdefault(row["image_id"], {})
            parts |= measured.rows
            if measured.stream:
                write_bytes(streams / f"{row['image_id']}.bli", measured.stream)
            for name, reason in measured.left_out.items():
                results.left_out.setdefault(name, {})[row["image_id"]] = reason
            if remaining == 0:
                rows = [found for name in plan.names for found in parts.get(name, [])]
                if rows:
                    results.frames[row["image_id"]] = to_frame(rows)
                del results.parts[row["image_id"]]
                advance(1)

        waiting: dict[str, int] = {}
        for row in pictures.rows:
            found = {name: kept for name in plan.names if (kept := cache.find(plan.key(name, row))) is not None}
            rows = {name: [{**one, "image_id": row["image_id"]} for one in kept] for name, (kept, _) in found.items()}
            known = Measured(rows, found[model.name][1] if model.name in found else b"")
            missing = [name for name in plan.names if name not in found]
            # A GPU is used by this process alone, while the others have the classical codecs.
            alone = [name for name in missing if name in plan.models and model.on_gpu]
            parts = [part for part in (alone, [name for name in missing if name not in alone]) if part]
            jobs += [(plan.only(part), row) for part in parts]
            waiting[row["image_id"]] = len(parts)
            add(row, known, len(parts))
        for _, row, measured in _done(jobs, model, compute):
            for name, new in measured.rows.items():
                of_model = (measured.stream, plan.models[name].digest) if name == model.name else ()
                cache.keep(plan.key(name, row), new, *of_model)
            waiting[row["image_id"]] -= 1
            add(row, measured, waiting[row["image_id"]])
    return results


def _done(
    jobs: Sequence[tuple[Plan, ManifestRow]], model: ModelUnderTest, compute: ComputeConfig
) -> Iterator[tuple[Plan, ManifestRow, Measured]]:
    """The jobs with what came of them, in any order, done by as many processes as `compute` has; those that use a GPU, with
    the metrics of what it decoded, by this process."""
    here = [(job, row) for job, row in jobs if job.models and model.on_gpu]
    away = [(job, row) for job, row in jobs if not (job.models and model.on_gpu)]
    if (compute.scheduler is None and compute.workers == 1) or not _worth_workers(away):
        for job, row in jobs:
            yield job, row, measure_picture(job, row)
        return
    from distributed import as_completed

    # Where they are processes of this machine, each has so many threads that none waits for another.
    threads = max(1, (os.cpu_count() or 1) // compute.workers) if compute.scheduler is None else None
    with cluster(compute) as client:
        tasks = {
            client.submit(measure_picture, replace(job, threads=threads), row, pure=False): (job, row)
            for job, row in away
        }
        for job, row in here:
            yield job, row, measure_picture(job, row)
        for task in as_completed(list(tasks)):
            job, row = tasks.pop(task)
            try:
                measured = task.result()
            except Exception as error:  # the worker died, of this picture as far as one can tell
                measured = Measured(left_out=dict.fromkeys(job.names, reason_of(error)))
            yield job, row, measured


def _worth_workers(jobs: Sequence[tuple[Plan, ManifestRow]]) -> bool:
    """Whether the jobs take longer than worker processes take to start."""
    files, seconds = 0, 0.0
    for job, row in jobs:
        megapixels = row["width"] * row["height"] / 1e6
        files += job.files
        seconds += job.files * megapixels * sum(fact.seconds_per_megapixel for fact in all_facts(job.metrics))
    return files >= SMALL or seconds >= SLOW


def _joined(results: _Results, pictures: PictureSet, model: str) -> "pd.DataFrame":
    """One table, in the order of the pictures. Says what was left out; raises StageError where nothing can be compared."""
    import pandas as pd

    unreadable = results.left_out.get("", {})
    if unreadable and pictures.name == TEST_SET:
        image_id, reason = next(iter(unreadable.items()))
        raise StageError(f"evaluating picture {image_id}: {reason}")
    for name, found in results.left_out.items():
        who = f"{name} is left out for" if name else "no codec is given"
        logger.warning("%s: %s %s: %s", pictures.name, who, _named(list(found)), next(iter(found.values())))
    lacking = unreadable | results.left_out.get(model, {})
    if len(lacking) == len(pictures.rows):
        reason = next(iter(lacking.values()))
        raise StageError(f"{model} takes none of the {len(lacking)} pictures of {pictures.name}: {reason}")
    frames = [results.frames[row["image_id"]] for row in pictures.rows if row["image_id"] in results.frames]
    return pd.concat(frames, ignore_index=True)


def _pictures(pictures: PictureSet, frame: "pd.DataFrame", left_out: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Which pictures were measured, which of them are compared, and why the others are not."""
    compared = set(frame.loc[frame["compared"], "image_id"])
    exact = list(dict.fromkeys(frame.loc[frame["exact"], "image_id"]))
    if exact:
        logger.warning("%s: %s reproduced exactly and counted apart", pictures.name, _named(exact))
    known_as, whole = test_set.known_as(pictures), compared == {row["image_id"] for row in pictures.rows}
    if known_as and not whole:
        logger.warning(
            "%s: published curves are of all %d pictures; not all are compared", pictures.name, len(pictures.rows)
        )
    return {
        "set": pictures.name,
        "known_as": known_as if whole else None,
        "test_set": test_set.digest([row for row in pictures.rows if row["image_id"] in compared]),
        "all_pictures": test_set.digest(pictures.rows),
        "exact": exact,
        "left_out": {
            name or "unreadable": {"pictures": list(found), "reason": next(iter(found.values()))}
            for name, found in left_out.items()
        },
        "skipped_files": {reason: len(files) for reason, files in pictures.skipped.items()},
    }


def _named(names: Sequence[str]) -> str:
    more = ", …" if len(names) > NAMED else ""
    return f"{len(names)} picture{'s' if len(names) > 1 else ''} ({', '.join(names[:NAMED])}{more})"
