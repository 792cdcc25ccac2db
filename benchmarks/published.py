"""Published rate–distortion curves on Kodak, for reading beside our own."""

from balle_li.comparison.curves import RdCurve
from balle_li.evaluation.metrics import to_db

# CompressAI's result files, means of the 24 pictures: bpp, PSNR in dB, MS-SSIM.
_FACTORIZED = (
    (0.1226, 26.91, 0.9100), (0.1885, 28.22, 0.9360), (0.2878, 29.62, 0.9555), (0.4404, 31.28, 0.9704),
    (0.6481, 32.96, 0.9806), (0.967, 35.38, 0.9879), (1.351, 37.40, 0.9922), (1.833, 39.62, 0.9951),
)  # fmt: skip
# The same files, read off at three rates.
_HYPERPRIOR = ((0.25, 29.91, 0.951), (0.5, 33.05, 0.976), (1.0, 37.14, 0.990))

TITLES = {"factorized": "bmshj2018-factorized (published)", "hyperprior": "bmshj2018-hyperprior (published)"}


def published_curves() -> dict[str, RdCurve]:
    """The curves of Ballé et al. (2018), by the names of TITLES."""
    return {"factorized": _curve("factorized", _FACTORIZED), "hyperprior": _curve("hyperprior", _HYPERPRIOR)}


def _curve(name: str, points: tuple[tuple[float, float, float], ...]) -> RdCurve:
    names = ("setting", "bpp", "psnr", "ms_ssim", "ms_ssim_db", "compression_ratio")
    rows = [("published", bpp, psnr, ms_ssim, to_db(ms_ssim), 24 / bpp) for bpp, psnr, ms_ssim in points]
    return RdCurve.of(name, [dict(zip(names, row, strict=True)) for row in rows])
