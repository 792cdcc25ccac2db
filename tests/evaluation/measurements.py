"""Made-up measurements for the tests of curves, summaries and plots."""

from balle_li.evaluation.measurement import Measurement
from balle_li.evaluation.metrics import Quality, ms_ssim_to_db

PIXELS = 100 * 100


def measurement(
    image_id: str,
    codec: str,
    setting: str,
    bpp: float,
    psnr: float,
    ms_ssim: float | None = 0.95,
    inside: float | None = None,
    by_class: dict[str, float] | None = None,
) -> Measurement:
    """A picture of 100 × 100 pixels whose source file had 24 bits per pixel; encoded in 10 ms, decoded in 20 ms."""
    quality = Quality(
        mse=255**2 / 10 ** (psnr / 10),
        psnr=psnr,
        ms_ssim=ms_ssim,
        ms_ssim_db=None if ms_ssim is None else ms_ssim_to_db(ms_ssim),
        psnr_inside=inside,
        psnr_outside=inside,
        psnr_by_class=by_class or {},
    )
    stream_bytes = round(bpp * PIXELS / 8)
    return Measurement(image_id, codec, setting, 100, 100, 3 * PIXELS, stream_bytes, 0.010, 0.020, quality)
