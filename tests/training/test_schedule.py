import pytest

from balle_li.training.schedule import schedule


def test_one_cycle_rises_over_the_warm_up_and_falls_to_nearly_nothing():
    share = schedule("one-cycle", 101, 0.1)
    assert share(0) == pytest.approx(0.04)
    assert share(10) == pytest.approx(1.0, abs=0.01)
    assert [share(step) for step in range(11)] == sorted(share(step) for step in range(11))
    assert [share(step) for step in range(11, 101)] == sorted((share(step) for step in range(11, 101)), reverse=True)
    assert share(100) == pytest.approx(4e-6)


def test_step_drops_to_a_tenth_after_four_fifths():
    share = schedule("step", 100, 0.1)
    assert share(0) < share(9) < 1
    assert {share(step) for step in range(10, 80)} == {1.0}
    assert {share(step) for step in range(80, 100)} == {0.1}


@pytest.mark.parametrize("name", ["one-cycle", "step"])
def test_no_warm_up(name):
    assert schedule(name, 50, 0.0)(0) == pytest.approx(1.0)


def test_constant():
    assert schedule("constant", 10, 0.5)(0) == 1.0
