"""How long a model's codec takes for Kodak pictures, and where the time goes, beside CompressAI and classical codecs.

    python benchmarks/codec_speed.py [--model FOLDER] [--pictures FOLDER] [--precisions] [--json speed.json]

All codecs run in this process, in turn for every picture, with the threads torch takes by default; the figures are
medians over pictures of the fastest of --repeats runs, in milliseconds, after one run that is not counted. CompressAI's
bmshj2018_factorized(quality=3) has its initial weights, so nothing is downloaded: its transforms and its number of symbols are
those of the trained model, its files are larger. Each classical encoder is given, for every picture, the lowest quality
whose MS-SSIM is not below ours; what else is set stands in CLASSICAL. --precisions lets our codec in the other of float32
and bfloat16 take turns too.
"""

import argparse
import io
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kodak import PICTURES
from PIL import Image

from balle_li.codec.bitstream import Stream
from balle_li.codec.codec import Codec, choose_device
from balle_li.codec.model_folder import ModelFolder
from balle_li.evaluation.metrics import ms_ssim
from balle_li.files import released_model
from balle_li.image_io import Picture

OURS = "Balle-Li"
CLASSICAL: dict[str, dict[str, Any]] = {
    "AVIF speed 6": {"format": "AVIF", "speed": 6},
    "HEVC (x265)": {"format": "HEIF"},
    "WebP": {"format": "WEBP"},
    "JPEG": {"format": "JPEG"},
}


def milliseconds(function: Callable[[], Any], repeats: int) -> float:
    """The fastest of `repeats` runs."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def balle_li(codec: Codec, path: Path, folder: Path, repeats: int) -> dict[str, float]:
    """Whole and parts: from a PNG on disk to a stream on disk, and from there to pixels in memory."""
    image = Image.open(path).convert("RGB")
    picture = Picture.from_image(image)
    y = codec.transforms.analyse(picture.rgb, None)
    r = np.zeros(y.shape[1:], np.int8) if codec.variable_rate else None
    prepared = codec.latents.prepare(y, r)
    sections = codec.latents.encode(prepared)
    values = codec.latents.decode(sections, *y.shape[1:]).values
    data = codec.compress(image)
    height, width = picture.rgb.shape[:2]
    file = folder / "picture.bli"
    steps: dict[str, Callable[[], Any]] = {
        "read PNG": lambda: Image.open(path).convert("RGB"),
        "encode": lambda: codec.compress(image),
        "encode: analysis": lambda: codec.transforms.analyse(picture.rgb, None),
        "encode: z and entropy parameters": lambda: codec.latents.prepare(y, r),
        "encode: entropy coding": lambda: codec.latents.encode(prepared),
        "write stream": lambda: file.write_bytes(data),
        "read stream": lambda: Stream.unpack(file.read_bytes()),
        "decode": lambda: codec.decompress(data),
        "decode: bytes to latents": lambda: codec.latents.decode(sections, *y.shape[1:]),
        "decode: synthesis": lambda: codec.transforms.synthesise(values, height, width, None),
    }
    return {step: milliseconds(function, repeats) for step, function in steps.items()} | {"bytes": len(data)}


def compressai(path: Path, model: Any, repeats: int) -> dict[str, float]:
    """CompressAI's compress and decompress of a picture already in memory as a tensor."""
    x = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        coded = model.compress(x)
        encode = milliseconds(lambda: model.compress(x), repeats)
        decode = milliseconds(lambda: model.decompress(coded["strings"], coded["shape"]), repeats)
    return {
        "encode": encode,
        "decode": decode,
        "bytes": sum(len(string) for group in coded["strings"] for string in group),
    }


def classical(path: Path, options: dict[str, Any], wanted: float, repeats: int) -> dict[str, float]:
    """Encoding and decoding at the lowest quality whose MS-SSIM is at least `wanted`, or at the highest."""
    image = Image.open(path).convert("RGB")
    pixels = np.asarray(image)

    def encode(quality: int) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, **options, quality=quality)
        return buffer.getvalue()

    low, high = 1, 95
    while low < high:
        middle = (low + high) // 2
        decoded = np.asarray(Image.open(io.BytesIO(encode(middle))).convert("RGB"))
        if (ms_ssim(pixels, decoded) or 1.0) >= wanted:
            high = middle
        else:
            low = middle + 1
    data = encode(low)
    decode = milliseconds(lambda: Image.open(io.BytesIO(data)).load(), repeats)
    return {"encode": milliseconds(lambda: encode(low), repeats), "decode": decode, "bytes": len(data)}


def measure(codecs: dict[str, Codec], pictures: list[Path], folder: Path, repeats: int) -> dict[str, dict[str, float]]:
    """Medians over `pictures`, by codec and step."""
    from compressai.zoo import bmshj2018_factorized
    from pillow_heif import register_heif_opener

    register_heif_opener()
    reference = bmshj2018_factorized(quality=3, pretrained=False).eval()
    reference.update()
    ours = codecs[OURS]
    rows: dict[str, list[dict[str, float]]] = {}
    for path in pictures:
        for name, codec in codecs.items():
            rows.setdefault(name, []).append(balle_li(codec, path, folder, repeats))
        rows.setdefault("CompressAI", []).append(compressai(path, reference, repeats))
        image = Image.open(path).convert("RGB")
        wanted = ms_ssim(np.asarray(image), np.asarray(ours.decompress(ours.compress(image)))) or 1.0
        for name, options in CLASSICAL.items():
            rows.setdefault(name, []).append(classical(path, options, wanted, repeats))
    return {
        name: {step: statistics.median(row[step] for row in measured) for step in measured[0]}
        for name, measured in rows.items()
    }


def main() -> None:
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", type=Path, default=released_model(), help="model folder; default: that of tune ms-ssim"
    )
    parser.add_argument("--pictures", type=Path, default=PICTURES, help="folder of PNG pictures")
    parser.add_argument("--limit", type=int, default=24, help="how many pictures to take")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precisions", action="store_true", help="time the other of float32 and bfloat16 too")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    arguments = parser.parse_args()
    model, device = ModelFolder.load(arguments.model), choose_device(arguments.device)
    codec = Codec(model, device)
    codecs = {OURS: codec}
    if arguments.precisions:
        dtype = torch.float32 if codec.transforms.dtype is torch.bfloat16 else torch.bfloat16
        codecs[str(dtype).removeprefix("torch.")] = Codec(model, device, dtype)
    pictures = sorted(arguments.pictures.glob("*.png"))[: arguments.limit]
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(codecs, pictures, Path(folder), arguments.repeats)
    own, other = figures[OURS], figures["CompressAI"]
    print(
        f"{codec.name} ({codec.setting}), {codec.transforms.dtype}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, {platform.processor() or platform.machine()}, {len(pictures)} pictures"
    )
    for step, value in own.items():
        print(f"  {step:34} {value:9.1f}" + ("" if step == "bytes" else " ms"))
    print(
        f"  {'':14}{'encode ms':>10}{'decode ms':>11}{'bytes':>9}{'encode ×':>10}{'decode ×':>10}   (×: time over Balle-Li's)"
    )
    for name, row in figures.items():
        ratios = row["encode"] / own["encode"], row["decode"] / own["decode"]
        print(
            f"  {name:14}{row['encode']:10.1f}{row['decode']:11.1f}{row['bytes']:9.0f}{ratios[0]:10.2f}{ratios[1]:10.2f}"
        )
    ratios = other["encode"] / own["encode"], other["decode"] / own["decode"]
    print(f"  against CompressAI: encodes {ratios[0]:.1f}×, decodes {ratios[1]:.1f}× faster")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
