"""How long a model's codec takes for Kodak pictures, and where the time goes, beside CompressAI and classical codecs.

    python benchmarks/codec_speed.py --model data/04_models/model --pictures ../shared/kodak [--json speed.json]

All codecs run in this process, in turn for every picture, with the threads torch takes by default; the figures are
medians over pictures of the fastest of --repeats runs, in milliseconds, after one run that is not counted. CompressAI's
bmshj2018_factorized(quality=3) has its initial weights, so nothing is downloaded: its transforms and its number of symbols are
those of the trained model, its files are larger. The classical encoders' settings stand in CLASSICAL.
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
from PIL import Image

from balle_li.codec.bitstream import Stream
from balle_li.codec.codec import Codec
from balle_li.codec.pictures import Picture

CLASSICAL: dict[str, dict[str, Any]] = {
    "AVIF speed 6": {"format": "AVIF", "quality": 50, "speed": 6},
    "HEVC (x265)": {"format": "HEIF", "quality": 40},
    "WebP": {"format": "WEBP", "quality": 50},
    "JPEG": {"format": "JPEG", "quality": 40},
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
    picture = Picture.from_image(image, strip=False)
    latents, _ = codec.transforms.analyse(picture.rgb, None)
    flat = latents.reshape(len(latents), -1)
    coded, outside = codec.coder.encode(flat)
    data = codec.compress(image)
    height, width = picture.rgb.shape[:2]
    file = folder / "picture.bli"
    steps: dict[str, Callable[[], Any]] = {
        "read PNG": lambda: Image.open(path).convert("RGB"),
        "encode": lambda: codec.compress(image),
        "encode: analysis": lambda: codec.transforms.analyse(picture.rgb, None),
        "encode: entropy coding": lambda: codec.coder.encode(flat),
        "write stream": lambda: file.write_bytes(data),
        "read stream": lambda: Stream.unpack(file.read_bytes()),
        "decode": lambda: codec.decompress(data),
        "decode: entropy decoding": lambda: codec.coder.decode(coded, outside, flat.shape[1]),
        "decode: synthesis": lambda: codec.transforms.synthesise(latents, height, width, None),
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


def classical(path: Path, options: dict[str, Any], repeats: int) -> dict[str, float]:
    image = Image.open(path).convert("RGB")

    def encode() -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, **options)
        return buffer.getvalue()

    data = encode()
    decode = milliseconds(lambda: Image.open(io.BytesIO(data)).load(), repeats)
    return {"encode": milliseconds(encode, repeats), "decode": decode, "bytes": len(data)}


def measure(codec: Codec, pictures: list[Path], folder: Path, repeats: int) -> dict[str, dict[str, float]]:
    """Medians over `pictures`, by codec and step."""
    from compressai.zoo import bmshj2018_factorized
    from pillow_heif import register_heif_opener

    register_heif_opener()
    reference = bmshj2018_factorized(quality=3, pretrained=False).eval()
    reference.update()
    rows: dict[str, list[dict[str, float]]] = {}
    for path in pictures:
        rows.setdefault("Balle-Li", []).append(balle_li(codec, path, folder, repeats))
        rows.setdefault("CompressAI", []).append(compressai(path, reference, repeats))
        for name, options in CLASSICAL.items():
            rows.setdefault(name, []).append(classical(path, options, repeats))
    return {
        name: {step: statistics.median(row[step] for row in measured) for step in measured[0]}
        for name, measured in rows.items()
    }


def main() -> None:
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="model folder")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of PNG pictures, such as Kodak's")
    parser.add_argument("--limit", type=int, default=24, help="how many pictures to take")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    arguments = parser.parse_args()
    codec = Codec.load(arguments.model, arguments.device)
    pictures = sorted(arguments.pictures.glob("*.png"))[: arguments.limit]
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(codec, pictures, Path(folder), arguments.repeats)
    own, other = figures["Balle-Li"], figures["CompressAI"]
    description = codec.description
    print(
        f"{description['name']}, N = {description['N']}, {codec.transforms.dtype}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, {platform.processor() or platform.machine()}, {len(pictures)} pictures"
    )
    for step, value in own.items():
        print(f"  {step:26} {value:9.1f}" + ("" if step == "bytes" else " ms"))
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
