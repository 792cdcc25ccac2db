import numpy as np
import pytest
from scipy.interpolate import Akima1DInterpolator, PchipInterpolator

from balle_li.comparison.curves import bd_rate

ANCHOR = [(0.1, 28.0), (0.2, 30.0), (0.4, 32.5), (0.8, 35.0)]


@pytest.mark.parametrize("method", ["pchip", "akima"])
def test_a_fixed_fraction_of_the_bits_is_that_bd_rate(method: str) -> None:
    result = bd_rate(ANCHOR, [(0.7 * bpp, quality) for bpp, quality in ANCHOR], method)  # type: ignore[arg-type]
    assert result.percent == pytest.approx(-30)
    assert result.overlap == pytest.approx(1) and result.warning is None


@pytest.mark.parametrize(("method", "interpolator"), [("pchip", PchipInterpolator), ("akima", Akima1DInterpolator)])
def test_real_curves_agree_with_an_integral_over_a_fine_grid(method: str, interpolator: type) -> None:
    """bmshj2018-factorized against JPEG to quality 75, on Kodak by PSNR, from CompressAI's result files."""
    rates = [0.1226, 0.1885, 0.2878, 0.4404, 0.6481, 0.967, 1.351, 1.833]
    qualities = [26.91, 28.22, 29.62, 31.28, 32.96, 35.38, 37.40, 39.62]
    jpeg_rates = [0.2212, 0.3266, 0.4231, 0.5084, 0.5879, 0.6601, 0.7289, 0.786, 0.9064, 1.127, 1.369]
    jpeg_qualities = [23.78, 26.58, 28.04, 29.04, 29.78, 30.38, 30.90, 31.31, 32.06, 33.23, 34.39]
    grid = np.linspace(26.91, 34.39, 10_001)
    gap = interpolator(qualities, np.log(rates))(grid) - interpolator(jpeg_qualities, np.log(jpeg_rates))(grid)
    jpeg, factorized = list(zip(jpeg_rates, jpeg_qualities, strict=True)), list(zip(rates, qualities, strict=True))
    result = bd_rate(jpeg, factorized, method)  # type: ignore[arg-type]
    assert result.percent == pytest.approx(100 * (np.exp(gap.mean()) - 1), abs=0.01)
    assert result.overlap == pytest.approx((34.39 - 26.91) / (34.39 - 23.78)) and result.warning is None


def test_qualities_may_be_negative() -> None:
    anchor = [(0.1, -64.3), (0.2, -5.6), (0.4, 29.9), (0.8, 61.4)]
    result = bd_rate(anchor, [(0.7 * bpp, quality) for bpp, quality in anchor], unit="")
    assert result.percent == pytest.approx(-30) and result.overlap == pytest.approx(1) and result.warning is None


def test_order_and_useless_points_do_not_matter() -> None:
    test = [(0.8 * bpp, quality) for bpp, quality in ANCHOR]
    shuffled = [test[2], (0.5, 29.0), test[0], test[3], test[1]]  # 0.5 bpp costs more and is no better
    assert bd_rate(ANCHOR, shuffled).percent == pytest.approx(-20)


def test_little_overlap_warns() -> None:
    result = bd_rate(ANCHOR, [(0.5, 34.0), (1.0, 37.0), (2.0, 40.0)])
    assert result.percent is not None
    assert result.overlap == pytest.approx(1 / 6)
    assert result.warning is not None and "17%" in result.warning and "28.00–35.00 dB" in result.warning


def test_a_short_curve_within_a_long_one_overlaps_wholly() -> None:
    result = bd_rate(ANCHOR, [(0.1, 30.0), (0.2, 32.5)])
    assert result.percent == pytest.approx(-50, abs=0.5) and result.overlap == 1 and result.warning is None


@pytest.mark.parametrize(
    ("test", "reason"),
    [([(1.0, 36.0), (2.0, 40.0)], "share no quality"), ([(0.3, 31.0)], "two points"), ([], "two points")],
)
def test_what_cannot_be_computed_says_why(test: list[tuple[float, float]], reason: str) -> None:
    result = bd_rate(ANCHOR, test)
    assert result.percent is None and result.overlap == 0
    assert result.warning is not None and reason in result.warning
