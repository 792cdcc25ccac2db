"""A picture for tests that care for files, not for quality."""

import numpy as np
from PIL import Image


def picture(seed=0, mode="RGB"):
    """Noise of 40×30 pixels."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)).convert(mode)
