"""Writes the golden streams. Run it only for a new format version, into a folder of its own: streams decode for ever."""

import hashlib
import json
from pathlib import Path

import numpy as np
from PIL import Image
from tiny_model import tiny_model

from balle_li.codec.codec import Codec, choose_device

FOLDER = Path(__file__).parent


def images() -> dict[str, Image.Image]:
    """A picture with side information, a grey one, and one whose values leave the tables."""
    rows, columns = np.mgrid[0:70, 0:90]
    colour = np.stack([rows * 3, columns * 2, rows + columns], axis=2).clip(0, 255).astype(np.uint8)
    alpha = Image.fromarray(((rows + columns) % 256).astype(np.uint8))
    first = Image.fromarray(colour)
    first.putalpha(alpha)
    first.info |= {"icc_profile": b"not a real profile", "exif": b"Exif\0\0not real tags"}
    noise = np.random.default_rng(0).integers(0, 2, (33, 47, 3), dtype=np.uint8) * 255
    return {"rgba": first, "grey": Image.fromarray(colour[:, :, 0]), "noise": Image.fromarray(noise)}


def main() -> None:
    model = tiny_model("balle", N=4)
    model.save(FOLDER / "model")
    codec = Codec(model, choose_device("cpu"))
    expected = {}
    for name, image in images().items():
        data = codec.compress(image)
        (FOLDER / f"{name}.bli").write_bytes(data)
        latents = codec.decode_latents(data)
        expected[name] = {"size": list(image.size), "mode": image.mode, "latents": list(latents.shape)}
        expected[name]["sha256"] = hashlib.sha256(latents.astype("<i2").tobytes()).hexdigest()
    (FOLDER / "expected.json").write_text(json.dumps(expected, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
