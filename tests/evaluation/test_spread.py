import numpy as np
import pytest

from balle_li.evaluation.spread import box_of, ellipse_of


def test_box_has_quartiles_and_whiskers_that_leave_outliers_out() -> None:
    box = box_of([1.0, 2.0, 3.0, 4.0, 5.0, 20.0])
    assert (box.first, box.median, box.third) == (2.25, 3.5, 4.75)
    assert (box.low, box.high) == (1.0, 5.0) and box.outliers == (20.0,)
    assert box_of([7.0]).low == box_of([7.0]).high == 7.0


def test_ellipse_is_one_standard_deviation_of_the_covariance() -> None:
    points = np.random.default_rng(0).multivariate_normal([3, 1], [[4, 1.5], [1.5, 1]], 2000)
    outline = np.asarray(ellipse_of([(x, y) for x, y in points]))
    away = outline - points.mean(axis=0)
    distance = np.einsum("ni,ij,nj->n", away, np.linalg.inv(np.cov(points.T)), away)
    assert distance == pytest.approx(np.ones(len(outline)))
    assert outline[0] == pytest.approx(outline[-1])


def test_two_points_have_no_ellipse() -> None:
    assert ellipse_of([(1.0, 2.0), (2.0, 3.0)]) == []
