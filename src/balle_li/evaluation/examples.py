"""What the best and the worst pictures look like: `pictures.png`, and `shown/` for comparisons of runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from balle_li.evaluation import ranking, test_set
from balle_li.evaluation.measurement import Measurement
from balle_li.evaluation.model_under_test import ModelUnderTest, PictureResult
from balle_li.evaluation.picture_page import Example, draw_page, jpeg_of_size
from balle_li.evaluation.shown_pictures import write_shown
from balle_li.evaluation.test_set import PictureSet

BEST_AND_WORST = 5
SHOWN = "shown"


def write_examples(
    model: ModelUnderTest,
    pictures: PictureSet,
    results: Sequence[PictureResult],
    jpeg: Sequence[Measurement],
    pictures_on_page: int,
    class_weights: Mapping[str, float],
    folder: Path,
) -> list[Path]:
    """Write `pictures.png` and `shown/` of an evaluation whose streams lie in `folder`; returns the files of `shown/`."""
    ranked = ranking.rank([result.headline for result in results], jpeg)
    gains = {own.image_id: gain for own, gain in ranked}
    order = [own for own, _ in ranked]
    on_page, shown = ranking.spread(order, pictures_on_page), ranking.ends(order, BEST_AND_WORST)
    rows = {row["image_id"]: row for row in pictures.rows}
    examples: dict[str, Example] = {}
    for own in [*on_page, *shown]:
        if own.image_id not in examples:
            with test_set.naming(rows[own.image_id]):
                reference = pictures.read(rows[own.image_id])
                stream = (folder / "streams" / f"{own.image_id}.bli").read_bytes()
                decoded = np.asarray(model.codec.decompress(stream).convert("RGB"))
                analysis = model.codec.analyse(Image.fromarray(reference.pixels))
                beside = jpeg_of_size(reference, own.stream_bytes, class_weights)
                step = model.codec.downsampling
                maps = analysis.bits, analysis.importance
                examples[own.image_id] = Example(reference, own, decoded, *beside, *maps, step)
    subtitle = f"{len(on_page)} of {len(order)} pictures, from the largest to the smallest gain in PSNR over JPEG"
    page = [examples[own.image_id] for own in on_page]
    draw_page(page, f"{model.name} ({model.setting})", subtitle, folder / "pictures.png")
    ends = [own.image_id for own in shown]
    return write_shown([examples[name] for name in ends], [gains[name] for name in ends], folder / SHOWN)
