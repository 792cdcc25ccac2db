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


@pytest.mark.parametrize("name", ["adam", "soap"])
def test_parts_that_start_near_their_goal_take_a_quarter_of_the_learning_rate(name):
    model = build(ModelConfig("balle-li", {"N": 8}))
    optimizer = make_optimizer(model, name, 0.01)
    rates = {id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]}
    by_name = {name: rates[id(weight)] for name, weight in model.named_parameters()}
    slow = {name for name, rate in by_name.items() if rate == 0.0025}
    assert set(by_name.values()) == {0.0025, 0.01}
    assert slow == {name for name in by_name if name.startswith(("g_a.", "g_s.")) and "importance" not in name}


def test_soap_preconditions_the_kernels_of_convolutions_alone():
    torch.manual_seed(0)
    model = build(ModelConfig("balle-li-roi", {"N": 4}))
    kernels = {name for name, weight in model.named_parameters() if weight.dim() == 4}
    soap = make_optimizer(model, "soap", 0.01)
    gradients = [{name: torch.randn_like(weight) for name, weight in model.named_parameters()} for _ in range(3)]
    start = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    steps = {}
    for optimizer in (soap, make_optimizer(model, "adam", 0.01)):
        model.load_state_dict(start, strict=False)
        # SOAP's first step only measures.
        for gradient in [gradients[0], *gradients] if optimizer is soap else gradients:
            for name, weight in model.named_parameters():
                weight.grad = gradient[name]
            optimizer.step()
        steps[optimizer is soap] = {name: (weight - start[name]).detach() for name, weight in model.named_parameters()}
    alike = {name for name in start if torch.allclose(steps[True][name], steps[False][name], rtol=1e-3, atol=1e-5)}
    assert alike == set(start) - kernels


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
