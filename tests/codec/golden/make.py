"""Writes golden streams: `python make.py NAME`. Only for a model that has none: streams decode for ever.

NAME is a registered model that `tiny_model` can make; a folder of that name must not exist beside this file. Run with
src and tests on PYTHONPATH.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image
from tiny_model import tiny_model

from balle_li.boxes import Box
from balle_li.codec.codec import Codec, choose_device
from balle_li.codec.options import EncodeOptions


def images() -> dict[str, Image.Image]:
    """A picture with side information, a grey one, one whose values leave the tables, and one with all kinds of metadata."""
    rows, columns = np.mgrid[0:70, 0:90]
    colour = np.stack([rows * 3, columns * 2, rows + columns], axis=2).clip(0, 255).astype(np.uint8)
    alpha = Image.fromarray(((rows + columns) % 256).astype(np.uint8))
    first = Image.fromarray(colour)
    first.putalpha(alpha)
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "a camera"
    first.info |= {"icc_profile": b"not a real profile", "exif": exif.tobytes()}
    noise = np.random.default_rng(0).integers(0, 2, (33, 47, 3), dtype=np.uint8) * 255
    described = Image.new("RGB", (20, 16), "teal")
    described.info |= {"icc_profile": b"not a real profile", "xmp": b"<x:xmpmeta/>", "dpi": (300.0, 299.99)}
    return {
        "rgba": first,
        "grey": Image.fromarray(colour[:, :, 0]),
        "noise": Image.fromarray(noise),
        "described": described,
    }


def main() -> None:
    model_name = sys.argv[1]
    folder = Path(__file__).with_name(model_name)
    folder.mkdir()
    model = tiny_model(model_name, N=4)
    model.save(folder / "model")
    codec = Codec(model, choose_device("cpu"))
    options = dict.fromkeys(images(), EncodeOptions())
    if codec.variable_rate:
        options["rgba"] = EncodeOptions(quality=70, boxes=[Box(0.1, 0.2, 0.6, 0.7, "face")])
        options["grey"] = EncodeOptions(quality=10)
    expected: dict[str, dict[str, Any]] = {}
    for name, image in images().items():
        data = codec.compress(image, options[name])
        (folder / f"{name}.bli").write_bytes(data)
        latents = codec.decode_latents(data)
        expected[name] = {"size": list(image.size), "mode": image.mode, "latents": list(latents.shape)}
        expected[name]["sha256"] = hashlib.sha256(latents.astype("<i2").tobytes()).hexdigest()
    (folder / "expected.json").write_text(json.dumps(expected, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
