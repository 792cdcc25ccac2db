"""Cutting patches: this project beside the obvious loop, with the memory that each takes; and reading them for training.

python benchmarks/patches.py [PHOTOS] [--pictures N]

PHOTOS holds photographs laid out as Open Images (images/<split>/*.jpg). Each is tiled with its mirror images to one
megapixel and saved as JPEG; N pictures are links to these. The obvious loop opens a picture with Pillow, crops as many
patches at random places and saves each as PNG, in one process. Memory is the peak resident size of the largest process.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from balle_li.boxes import Box
from balle_li.config import ComputeConfig, PatchConfig
from balle_li.data.manifest import read_manifest, write_manifest
from balle_li.data.patch_plan import patch_count
from balle_li.data.patch_store import PatchStore
from balle_li.data.patches import cut_patches
from balle_li.files import sha256_file

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT = 1160, 864
JPEG_QUALITY = 90
BOXES = [Box(0.1, 0.2, 0.5, 0.9, "Person"), Box(0.55, 0.6, 0.7, 0.85, "Dog")]
FEW = 200
BATCH, CROP, READ_SECONDS = 16, 128, 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description="Patches per second and memory, beside the obvious loop")
    parser.add_argument("photos", nargs="?", type=Path, default=ROOT.parent / "shared" / "labelled-photos")
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument(
        "--per-megapixel", type=float, default=8.0, help="patches; fewer than params.yaml's, to save disk"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    config = PatchConfig(
        size=256, per_megapixel=arguments.per_megapixel, object_fraction=0.5, max_megapixels=2.0, shard_mib=48
    )
    if arguments.measure:
        print(json.dumps(MEASURES[arguments.measure](arguments.folder, config, arguments.workers)))
        return
    with tempfile.TemporaryDirectory(prefix="balle-li-patches-") as temporary:
        compare(arguments, Path(temporary))


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    photographs = sorted((arguments.photos / "images").rglob("*.jpg"))
    if not photographs:
        sys.exit(f"no photographs in {arguments.photos}/images; name their folder")
    tiled = tile(photographs, folder / "tiled")
    print(f"{arguments.pictures} pictures of {WIDTH}x{HEIGHT}, {arguments.per_megapixel:g} patches per megapixel")
    for number in sorted({min(FEW, arguments.pictures), arguments.pictures}):
        make_dataset(folder / str(number), tiled, number)
        ours = measure("ours", folder / str(number), arguments)
        print(
            f"  this project, {number} pictures, {arguments.workers} workers: {ours['patches']} patches in"
            f" {ours['seconds']:.1f} s, {ours['patches'] / ours['seconds']:.0f} patches/s; {ours['mib']:.0f} MiB"
        )
    loop = measure("loop", folder / str(arguments.pictures), arguments)
    print(
        f"  the obvious loop, {arguments.pictures} pictures: {loop['patches']} patches in {loop['seconds']:.1f} s,"
        f" {loop['patches'] / loop['seconds']:.0f} patches/s; {loop['mib']:.0f} MiB"
    )
    ratio = ours["patches"] / ours["seconds"] / (loop["patches"] / loop["seconds"])
    print(f"  this project / the obvious loop: {ratio:.1f} times the patches per second")
    read = measure("read", folder / str(arguments.pictures), arguments)
    print(f"  batches of {BATCH} crops for training: {read['patches'] / read['seconds']:.0f} crops/s")


def tile(photographs: list[Path], folder: Path) -> list[Path]:
    """Each photograph as a JPEG of WIDTH x HEIGHT, continued beyond its edges by its mirror images."""
    folder.mkdir()
    paths = [folder / f"{number:04d}.jpg" for number in range(len(photographs))]
    for photograph, path in zip(photographs, paths, strict=True):
        pixels = np.asarray(Image.open(photograph).convert("RGB"))
        missing = [(0, max(0, side - length)) for side, length in zip((HEIGHT, WIDTH), pixels.shape[:2], strict=True)]
        tiled = np.pad(pixels, [*missing, (0, 0)], mode="symmetric")[:HEIGHT, :WIDTH]
        Image.fromarray(tiled).save(path, quality=JPEG_QUALITY)
    return paths


def make_dataset(folder: Path, sources: list[Path], pictures: int) -> None:
    """A raw and a curated folder of so many train pictures, which are links to `sources` over and over."""
    (folder / "raw").mkdir(parents=True)
    digests, rows = [sha256_file(path) for path in sources], []
    for number in range(pictures):
        name = f"{number:06d}.jpg"
        (folder / "raw" / name).hardlink_to(sources[number % len(sources)])
        row = {"image_id": f"{number:06d}", "path": name, "width": WIDTH, "height": HEIGHT, "rotation": 0.0}
        rows.append({**row, "split": "train", "sha256": digests[number % len(sources)], "boxes": BOXES})
    write_manifest(folder / "curated" / "manifest.parquet", rows)


def measure(what: str, folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Run one measurement in a process of its own, so that its memory is its own too."""
    command = [sys.executable, __file__, "--measure", what, "--folder", str(folder)]
    command += ["--per-megapixel", str(arguments.per_megapixel), "--workers", str(arguments.workers)]
    answer: dict[str, float] = json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=folder).stdout
    )
    return answer


def cut_with_this_project(folder: Path, config: PatchConfig, workers: int) -> dict[str, float]:
    start = time.perf_counter()
    compute = ComputeConfig(scheduler=None, workers=workers)
    cut_patches(folder / "raw", folder / "curated", config, compute, {}, 0, folder / "patches")
    seconds = time.perf_counter() - start
    return {"patches": len(PatchStore(folder / "patches", "train")), "seconds": seconds, "mib": peak_mib()}


def cut_with_the_obvious_loop(folder: Path, config: PatchConfig, workers: int) -> dict[str, float]:
    rows = read_manifest(folder / "curated" / "manifest.parquet")
    target = folder / "loop"
    target.mkdir()
    generator = random.Random(0)
    patches = 0
    start = time.perf_counter()
    for row in rows:
        with Image.open(folder / "raw" / row["path"]) as image:
            for number in range(patch_count(row["width"], row["height"], config)):
                x = generator.randint(0, row["width"] - config.size)
                y = generator.randint(0, row["height"] - config.size)
                patch = image.crop((x, y, x + config.size, y + config.size))
                patch.save(target / f"{row['image_id']}-{number}.png")
                patches += 1
    return {"patches": patches, "seconds": time.perf_counter() - start, "mib": peak_mib()}


def read_for_training(folder: Path, config: PatchConfig, workers: int) -> dict[str, float]:
    from balle_li.training.batches import CropSource  # here, so that torch does not count as the others' memory

    source = CropSource(PatchStore(folder / "patches", "train"), CROP, BATCH, seed=0, class_weights=None)
    step, start = 0, time.perf_counter()
    while time.perf_counter() - start < READ_SECONDS:
        source.batch(step)
        step += 1
    return {"patches": step * BATCH, "seconds": time.perf_counter() - start, "mib": peak_mib()}


def peak_mib() -> float:
    """Peak resident size of this process or of the largest that it started and that has ended."""
    kibibytes = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return kibibytes / 1024


MEASURES = {"ours": cut_with_this_project, "loop": cut_with_the_obvious_loop, "read": read_for_training}

if __name__ == "__main__":
    main()
