import numpy as np
import torch
from PIL import Image

from balle_li.codec.codec import Codec
from balle_li.datasets.patch_store import PatchStore
from balle_li.models.balle_li_roi import BalleLiRoi
from balle_li.models.gaussian import SCALES
from balle_li.training.counted_tables import with_counted_tables
from balle_li.training.export import model_folder


def codecs(store):
    """Of an untrained model: with Gaussian tables and with counted ones."""
    torch.manual_seed(0)
    gaussian = model_folder(BalleLiRoi(8), 0.01, {})
    counted = with_counted_tables(gaussian, PatchStore(store, "train"))
    return [Codec(model, torch.device("cpu"), torch.float32) for model in (gaussian, counted)]


def test_what_was_counted_takes_fewer_bytes_and_decodes_alike(store):
    gaussian, counted = codecs(store)
    sizes = []
    for patch in PatchStore(store, "train").read(np.arange(7)):
        for quality in (10, 50, 90):
            before, after = (codec.compress(Image.fromarray(patch), quality=quality) for codec in (gaussian, counted))
            assert np.array_equal(gaussian.decode_latents(before), counted.decode_latents(after))
            sizes.append((len(before), len(after)))
    before, after = np.sum(sizes, axis=0)
    assert after < 0.95 * before


def test_rows_are_symmetric_wider_with_each_scale_and_cover_what_was_never_seen(store):
    tables = codecs(store)[1].latents.coder.tables
    assert tables.rows == SCALES
    assert (np.diff(tables.length) >= 0).all() and (tables.length == 2 - 2 * tables.offset).all()
    for frequencies, length in zip(tables.frequencies, tables.length, strict=True):
        row = frequencies[: length - 1]
        assert (row > 0).all() and np.abs(row - row[::-1]).max() <= 1
    values = np.array([-20, 3, 20000, 0])
    coder = codecs(store)[1].latents.coder
    groups = [values if row == 30 else values[:0] for row in range(SCALES)]
    assert np.array_equal(coder.decode(*coder.encode(groups), [4 * (row == 30) for row in range(SCALES)])[30], values)
