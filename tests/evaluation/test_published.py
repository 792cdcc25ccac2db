"""Published figures: what is known of them, and that they say what their sources say."""

import pytest

from balle_li.comparison.curves import RdCurve, bd_rate
from balle_li.evaluation.published import KIND_TITLES, kind_of, kinds_differ, published_sets


def test_every_curve_rises_and_models_come_in_both_kinds() -> None:
    kodak = published_sets()["kodak"]
    assert len(kodak.pixels) == 24 and "CompressAI" in kodak.source
    for curve in kodak.curves:
        for values in zip(*curve.points, strict=True):
            assert sorted(values) == list(values), f"{curve.title} falls"
    models = {(curve.title, curve.kind) for curve in kodak.curves if curve.kind is not None}
    assert len(models) == 12 and {kind for _, kind in models} == set(KIND_TITLES)
    assert all((title, kind) in models for title, _ in models for kind in KIND_TITLES)
    assert {curve.title.split()[0] for curve in kodak.curves if curve.kind is None} == {"VTM", "HM", "AV1"}


def test_the_figures_give_the_bd_rates_that_are_known_of_them() -> None:
    """By PSNR, against the factorized model: hyperprior −21.1 %, mbt2018-mean −26.7 %, VTM −40.5 %, of CompressAI's files."""
    curves = {
        (curve.title, curve.kind): [(bpp, psnr) for bpp, psnr, _ in curve.points]
        for curve in published_sets()["kodak"].curves
    }
    anchor = curves["bmshj2018-factorized", "mse"]
    known = {("bmshj2018-hyperprior", "mse"): -21.1, ("mbt2018-mean", "mse"): -26.7, ("VTM (VVC intra)", None): -40.5}
    for name, percent in known.items():
        assert bd_rate(anchor, curves[name]).percent == pytest.approx(percent, abs=0.3), name
    assert RdCurve.of("x", [{"bpp": bpp, "psnr": psnr} for bpp, psnr in anchor]).bpp_at(
        31.277, "psnr"
    ) == pytest.approx(0.4404)


def test_kinds_are_of_the_loss_and_only_models_have_one() -> None:
    assert kind_of({"lmbda": 0.01, "ms_ssim_weight": 0.0}) == "mse"
    assert kind_of({"lmbda": 0.01, "ms_ssim_weight": 1.0}) == "ms-ssim"
    assert kinds_differ("mse", "mse") is kinds_differ(None, "mse") is kinds_differ("ms-ssim", None) is None
    assert kinds_differ("ms-ssim", "mse") == "trained for different things, MS-SSIM and MSE"
