import pytest
import torch

from balle_li.models.base import build
from balle_li.registry import ModelConfig
from balle_li.training.optimizer import make_optimizer, make_scheduler, schedule


def test_one_cycle_rises_over_the_warm_up_and_falls_to_nearly_nothing():
    fraction = schedule("one-cycle", 101, 0.1)
    assert fraction(0) == pytest.approx(0.04)
    assert fraction(10) == pytest.approx(1.0, abs=0.01)
    assert [fraction(step) for step in range(11)] == sorted(fraction(step) for step in range(11))
    assert [fraction(step) for step in range(11, 101)] == sorted(
        (fraction(step) for step in range(11, 101)), reverse=True
    )
    assert fraction(100) == pytest.approx(4e-6)


def test_step_drops_to_a_tenth_after_four_fifths():
    fraction = schedule("step", 100, 0.1)
    assert fraction(0) < fraction(9) < 1
    assert {fraction(step) for step in range(10, 80)} == {1.0}
    assert {fraction(step) for step in range(80, 100)} == {0.1}


@pytest.mark.parametrize("name", ["one-cycle", "step"])
def test_no_warm_up(name):
    assert schedule(name, 50, 0.0)(0) == pytest.approx(1.0)


def test_constant():
    assert schedule("constant", 10, 0.5)(0) == 1.0


def test_parts_that_start_near_their_goal_take_a_quarter_of_the_learning_rate():
    model = build(ModelConfig("balle-li", {"N": 8}))
    optimizer = make_optimizer(model, 0.01)
    rates = {id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]}
    by_name = {name: rates[id(weight)] for name, weight in model.named_parameters()}
    slow = {name for name, rate in by_name.items() if rate == 0.0025}
    assert set(by_name.values()) == {0.0025, 0.01}
    assert slow == {name for name in by_name if name.startswith(("g_a.", "g_s.")) and "importance" not in name}


def test_the_scheduler_sets_every_groups_rate_after_each_step():
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": weights[:1], "lr": 0.1}, {"params": weights[1:], "lr": 1.0}])
    scheduler = make_scheduler(optimizer, "step", 10, 0.0)
    seen = []
    for _ in range(10):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    assert seen == [pytest.approx([0.1, 1.0])] * 8 + [pytest.approx([0.01, 0.1])] * 2
