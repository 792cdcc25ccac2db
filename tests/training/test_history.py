"""The curves of a training, and when it improves no more."""

import pytest

from balle_li.training.history import History, improves_no_more


def test_a_long_trainings_curve_has_at_most_a_thousand_points_and_a_short_ones_every_step():
    assert [History(steps).every for steps in (12, 400, 4000, 100_000)] == [1, 20, 50, 100]


def test_it_goes_on_where_its_state_ended():
    first, second = History(100), History(100)
    first.start_clock()
    assert first.add_point(5, {"loss": 2.0}, 5)["steps_per_second"] > 0
    assert first.add_validation(5, {"loss": 3.0}) and not first.add_validation(10, {"loss": 3.5})
    second.resume(first.state())
    assert second.state() == first.state()
    second.add_point(10, {"loss": 1.0}, 5)
    assert [point["step"] for point in second.training] == [5, 10]
    assert not second.add_validation(15, {"loss": 3.2}) and second.add_validation(20, {"loss": 2.9})
    assert len(first.training) == 1 and len(first.validations) == 2


def test_validations_do_not_count_for_the_steps_per_second(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    history = History(100)
    history.start_clock()
    now[0] += 2
    started = now[0]
    now[0] += 7
    history.count_pause(started)
    now[0] += 2
    assert history.add_point(8, {}, 8)["steps_per_second"] == pytest.approx(2.0)
    assert history.seconds == pytest.approx(11.0)


@pytest.mark.parametrize(
    ("costs", "patience", "over"),
    [([3, 2, 2, 2], 2, True), ([3, 2, 2, 1], 2, False), ([3, 2, 4], 2, False), ([1, 2], 0, False), ([1, 2], 2, False)],
)
def test_patience(costs, patience, over):
    assert improves_no_more([{"loss": cost} for cost in costs], patience) is over
