"""How good a decoded picture is: PSNR and MS-SSIM, of the whole picture and inside and outside the labelled boxes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from balle_li.boxes import Box, box_weight_map, weighted

CEILING_DB = 100.0
"""What an error of zero counts as, in dB, so that means and JSON stay finite."""

MS_SSIM_SHORTEST_SIDE = 161
"""Pixels of the shorter side that MS-SSIM needs: four halvings, then a window of 11."""


@dataclass(frozen=True)
class Quality:
    """The quality of one decoded picture. Squared errors are on the 0–255 scale, PSNR and `ms_ssim_db` in dB.

    A figure is None where it has no meaning: MS-SSIM of a picture that is too small, the inside of no box.
    """

    mse: float
    psnr: float
    ms_ssim: float | None
    ms_ssim_db: float | None
    psnr_inside: float | None
    psnr_outside: float | None
    psnr_by_class: dict[str, float]


def measure(
    original: np.ndarray, decoded: np.ndarray, boxes: Sequence[Box], class_weights: Mapping[str, float]
) -> Quality:
    """Compare two uint8 RGB pictures `(H, W, 3)`.

    Inside counts every pixel by how much of it boxes cover, times its class's weight (1 where `class_weights` names
    none); outside by how much of it no box covers; a class by its own boxes' coverage.
    """
    error = squared_error(original, decoded)
    height, width = error.shape
    inside = outside = None
    by_class: dict[str, float] = {}
    if boxes:
        inside = _weighted_mean(error, box_weight_map(weighted(boxes, class_weights), height, width))
        outside = _weighted_mean(error, 1.0 - box_weight_map(weighted(boxes, {}), height, width))
        for label in sorted({box.label for box in boxes}):
            own = [box for box in boxes if box.label == label]
            mse = _weighted_mean(error, box_weight_map(weighted(own, {}), height, width))
            if mse is not None:
                by_class[label] = psnr_of(mse)
    mse = float(error.mean(dtype=np.float64))
    similarity = ms_ssim(original, decoded)
    return Quality(
        mse=mse,
        psnr=psnr_of(mse),
        ms_ssim=similarity,
        ms_ssim_db=None if similarity is None else ms_ssim_to_db(similarity),
        psnr_inside=None if inside is None else psnr_of(inside),
        psnr_outside=None if outside is None else psnr_of(outside),
        psnr_by_class=by_class,
    )


def squared_error(original: np.ndarray, decoded: np.ndarray) -> np.ndarray:
    """Squared error of every pixel, mean over the channels, on the 0–255 scale: `(H, W)` float32.

    Raises ValueError when the pictures differ in size.
    """
    if original.shape != decoded.shape:
        raise ValueError(f"cannot compare pictures of {original.shape} and {decoded.shape}")
    difference = original.astype(np.float32) - decoded.astype(np.float32)
    return np.asarray(np.mean(difference * difference, axis=2), dtype=np.float32)


def psnr_of(mse: float) -> float:
    """Peak signal-to-noise ratio in dB of a squared error on the 0–255 scale, at most CEILING_DB."""
    return CEILING_DB if mse <= 0 else min(CEILING_DB, 10 * math.log10(255**2 / mse))


def ms_ssim(original: np.ndarray, decoded: np.ndarray) -> float | None:
    """Multi-scale structural similarity (Wang et al. 2003) of two uint8 RGB pictures `(H, W, 3)`, mean over the channels.

    None when the shorter side has fewer than MS_SSIM_SHORTEST_SIDE pixels.
    """
    if min(original.shape[:2]) < MS_SSIM_SHORTEST_SIDE:
        return None
    import pytorch_msssim
    import torch

    def tensor(picture: np.ndarray) -> torch.Tensor:
        return torch.tensor(picture).permute(2, 0, 1)[None].float()

    with torch.inference_mode():
        return float(pytorch_msssim.ms_ssim(tensor(original), tensor(decoded), data_range=255))


def ms_ssim_to_db(similarity: float) -> float:
    """−10·log10(1 − MS-SSIM), which spreads out the values near 1; at most CEILING_DB."""
    return psnr_of((1.0 - similarity) * 255**2)


def bits_per_pixel(stream_bytes: int, height: int, width: int) -> float:
    """Bits of the file, header and all, per pixel of the picture."""
    return 8.0 * stream_bytes / (height * width)


def _weighted_mean(error: np.ndarray, weights: np.ndarray) -> float | None:
    total = float(weights.sum(dtype=np.float64))
    if total <= 0:
        return None
    return float((error * weights).sum(dtype=np.float64)) / total
