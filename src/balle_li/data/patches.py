"""Cutting the curated pictures into the patch store that training reads; see `patch_store` for what it makes.

A shard is a task of its own. Finished shards of an unfinished run are kept in the project's `.patches/`, so that
running the same command again resumes from there, also under DVC, which removes a stage's outputs before it runs.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from balle_li.compute import cluster
from balle_li.config import ComputeConfig, PatchConfig
from balle_li.data.patch_plan import Shard, patch_count, plan_shards
from balle_li.errors import ConfigError, DatasetError
from balle_li.files import atomic_path, project_home, sha256_file, write_json
from balle_li.progress import progress

if TYPE_CHECKING:
    import pyarrow as pa
    from distributed import Client

    from balle_li.data.patch_cutting import ShardTask

SMALL_MEGAPIXELS = 100  # less work than this is done sooner than worker processes start


def cut_patches(
    raw: Path,
    curated: Path,
    config: PatchConfig,
    compute: ComputeConfig,
    class_weights: Mapping[str, float],
    seed: int,
    folder: Path,
) -> None:
    """Cut the train and validation pictures of `curated`'s manifest into a patch store in `folder`.

    The same manifest, configuration, weights and seed give the same bytes, whoever does the work. `class_weights` says
    how often patches are placed around a class's boxes, relative to the others, which count 1.

    Raises StageError: there is no manifest. DatasetError: no train pictures, or a picture cannot be read; it is named.
    ConfigError: a class weight is negative, or the scheduler does not answer.
    """
    for label, weight in class_weights.items():
        if not 0 <= weight < float("inf"):
            raise ConfigError(f"params.yaml: class_weights.{label} is {weight}, must be a number of 0 or more")
    from filelock import FileLock

    manifest_path = curated / "manifest.parquet"
    manifest = _read_manifest(manifest_path)
    origin = {
        "manifest_sha256": sha256_file(manifest_path),
        "config": asdict(config),
        "class_weights": dict(class_weights),
        "seed": seed,
    }
    key = hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:16]
    work = project_home() / ".patches" / key
    work.mkdir(parents=True, exist_ok=True)
    with FileLock(work.with_suffix(".lock")):
        work.mkdir(exist_ok=True)
        for leftover in (*work.rglob("*.part"), *work.rglob("*.reading")):
            leftover.unlink()
        plans = _plan(manifest, config, seed)
        tasks = _tasks(plans, manifest, raw.resolve(), work, config, class_weights, seed)
        pictures = sum(len(shard.pictures) for shards in plans.values() for shard in shards)
        with progress("Cutting patches", pictures, "pictures") as advance:
            for done in _cut_all(tasks, compute, _megapixels(manifest)):
                advance(done)
        _publish(work, folder, plans, origin)


def _read_manifest(path: Path) -> "pa.Table":
    """The columns of the manifest that cutting needs: a table, which takes a tenth of the memory of its rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from balle_li.data.manifest import read_manifest_table
    from balle_li.data.patch_store import SPLITS

    table = read_manifest_table(path, ["image_id", "path", "width", "height", "rotation", "split", "sha256", "boxes"])
    table = table.filter(pc.is_in(table["split"], pa.array(SPLITS)))
    if pc.sum(pc.equal(table["split"], SPLITS[0])).as_py() in (None, 0):
        raise DatasetError(f"{path} has no pictures in the split 'train'; bring more, or change curate.split")
    return table


def _plan(manifest: "pa.Table", config: PatchConfig, seed: int) -> dict[str, list[Shard]]:
    """The shards of each split; their pictures are positions in the manifest."""
    from balle_li.data.patch_store import SPLITS

    ids, widths, heights, splits = (manifest[name].to_pylist() for name in ("image_id", "width", "height", "split"))
    plans = {}
    for split in SPLITS:
        rows = [row for row, name in enumerate(splits) if name == split]
        counts = [patch_count(widths[row], heights[row], config) for row in rows]
        shards = plan_shards([ids[row] for row in rows], counts, config.shard_capacity, seed)
        plans[split] = [replace(shard, pictures=tuple(rows[picture] for picture in shard.pictures)) for shard in shards]
    return plans


def _tasks(
    plans: Mapping[str, Sequence[Shard]],
    manifest: "pa.Table",
    raw: Path,
    work: Path,
    config: PatchConfig,
    class_weights: Mapping[str, float],
    seed: int,
) -> Iterator["ShardTask"]:
    from balle_li.data.patch_cutting import ShardTask

    for split, shards in plans.items():
        (work / split).mkdir(exist_ok=True)
        for shard in shards:
            pictures = manifest.take(list(shard.pictures)).to_pylist()
            yield ShardTask(
                raw=raw,
                folder=work / split,
                number=shard.number,
                first_patch=shard.first_patch,
                pictures=pictures,
                counts=shard.counts,
                config=config,
                class_weights=class_weights,
                seed=seed,
            )


def _megapixels(manifest: "pa.Table") -> float:
    import pyarrow.compute as pc

    return (pc.sum(pc.multiply(manifest["width"], manifest["height"])).as_py() or 0) / 1e6


def _cut_all(tasks: Iterable["ShardTask"], compute: ComputeConfig, megapixels: float) -> Iterator[int]:
    """Cut every shard; yields the number of pictures as shards are finished."""
    from balle_li.data.patch_cutting import cut_shard

    if compute.scheduler is None and (compute.workers == 1 or megapixels < SMALL_MEGAPIXELS):
        yield from map(cut_shard, tasks)
        return
    with cluster(compute) as client:
        yield from _cut_on_workers(tasks, client)


def _cut_on_workers(tasks: Iterable["ShardTask"], client: "Client") -> Iterator[int]:
    """As many shards at a time as keep every worker busy: the memory of the rest is not taken yet."""
    from distributed import KilledWorker, as_completed

    from balle_li.data.patch_cutting import cut_shard

    remaining = iter(tasks)
    running: dict[str, ShardTask] = {}

    def submit(number: int) -> list[Any]:
        futures = [(client.submit(cut_shard, task, pure=False), task) for task in islice(remaining, number)]
        running.update((future.key, task) for future, task in futures)
        return [future for future, _ in futures]

    finished = as_completed(submit(2 * sum(client.nthreads().values())))
    for future in finished:
        try:
            done = future.result()
        except KilledWorker:
            raise DatasetError(_what_killed(running[future.key], running.values())) from None
        running.pop(future.key)
        yield done
        for new in submit(1):
            finished.add(new)


def _what_killed(task: "ShardTask", running: Iterable["ShardTask"]) -> str:
    """The notes that dying workers left name the pictures they were reading."""
    suspects = [other.note_path for other in [task, *running] if other.note_path.is_file()]
    if not suspects:
        return f"worker processes died while cutting {task.shard_path.name}; is there enough memory?"
    picture = suspects[0].read_text(encoding="utf-8")
    return f"worker processes died while reading {picture}; is it damaged, or is there too little memory?"


def _publish(work: Path, folder: Path, plans: Mapping[str, Sequence[Shard]], origin: Mapping[str, Any]) -> None:
    """Move the finished store to its place, replacing what is there; its description goes last."""
    from balle_li.data.patch_store import FORMAT, shard_name

    (folder / "patches.json").unlink(missing_ok=True)
    for split, shards in plans.items():
        shutil.rmtree(folder / split, ignore_errors=True)
        (folder / split).mkdir(parents=True)
        _write_index(folder / split / "index.parquet", work / split, len(shards))
        for shard in shards:
            # A rename on the same file system, a copy on another.
            shutil.move(work / split / shard_name(shard.number), folder / split / shard_name(shard.number))
    splits = {
        split: {
            "pictures": sum(len(shard.pictures) for shard in shards),
            "patches": sum(shard.patches for shard in shards),
            "shards": [shard.patches for shard in shards],
        }
        for split, shards in plans.items()
    }
    description = {"format": FORMAT, "size": origin["config"]["size"], "splits": splits, **origin}
    write_json(folder / "patches.json", description)
    shutil.rmtree(work)


def _write_index(path: Path, parts: Path, shards: int) -> None:
    """Join the shards' parts of the index, one at a time."""
    import pyarrow.parquet as pq

    from balle_li.data.patch_store import INDEX_SCHEMA, shard_name

    with atomic_path(path) as part, pq.ParquetWriter(part, INDEX_SCHEMA, compression="zstd") as writer:
        for number in range(shards):
            writer.write_table(pq.read_table((parts / shard_name(number)).with_suffix(".parquet")))
