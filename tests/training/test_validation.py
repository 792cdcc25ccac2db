"""The cost on the validation patches, and the history of a training."""

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from training.tiny_training import BALLE, ROI

from balle_li.boxes import box_weight_map, weighted
from balle_li.data.patch_store import PatchStore
from balle_li.models.base import build
from balle_li.quality_map import QUALITY_SPAN
from balle_li.registry import ModelConfig
from balle_li.training.batches import pixels
from balle_li.training.loss import RateDistortionLoss
from balle_li.training.validation import History, Validation, improves_no_more, psnr

WEIGHTS = {"Dog": 2.0}
LOSS = RateDistortionLoss(0.01, 0.1, 400)


@pytest.fixture
def fabric():
    return Fabric(accelerator="cpu", devices=1, precision="32-true")


@pytest.fixture
def patches(new_store, tmp_path):
    return PatchStore(new_store(tmp_path / "patches", validation=11), "validation")


def model_of(config):
    torch.manual_seed(0)
    return build(config)


def test_it_is_the_mean_over_all_patches_rounded_and_always_the_same(patches, fabric):
    model = model_of(BALLE)
    validation = Validation(patches, model, LOSS, fabric, WEIGHTS, (0, 1))
    values = validation.run()
    assert model.training
    assert validation.run() == values
    x = pixels(torch.from_numpy(patches.read(np.arange(11))))
    maps = [box_weight_map(weighted(patches.boxes(patch), WEIGHTS), 48, 48) for patch in range(11)]
    with torch.no_grad():
        expected = LOSS(model.eval()(x), x, torch.from_numpy(np.stack(maps))[:, None])
    for name, value in expected.items():
        assert values[name] == pytest.approx(float(value), rel=1e-4), name
    assert values["psnr"] == pytest.approx(psnr(values["mse"]))


def test_sides_that_are_no_multiple_of_the_downsampling_are_cut_in_the_middle(patches, fabric):
    validation = Validation(patches, model_of(ModelConfig("balle-encoder", {"N": 8})), LOSS, fabric, WEIGHTS, (0, 1))
    batch = validation._batch(np.array([1]))
    assert torch.equal(batch.images[0], torch.from_numpy(np.array(patches[1][8:40, 8:40])))
    whole = box_weight_map(weighted(patches.boxes(1), WEIGHTS), 48, 48)
    assert torch.equal(batch.weights[0], torch.from_numpy(whole[8:40, 8:40]))


def test_variable_rate_models_are_validated_over_a_quality_sweep_whatever_process_has_the_patch(patches, fabric):
    seen = []

    def processes(count):
        seen.clear()
        for rank in range(count):
            model = model_of(ROI)
            model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
            validation = Validation(patches, model, LOSS, fabric, None, (rank, count))
            for start in range(0, len(validation.patches[rank::count]), 8):
                validation.cost(validation.patches[rank::count][start : start + 8], rank + start * count)
        return {x.numpy().tobytes(): float(r[0, 0, 0]) for xs, rs in seen for x, r in zip(xs, rs, strict=True)}

    one = processes(1)
    assert len(one) == 11 and processes(2) == one
    assert set(one.values()) == {-QUALITY_SPAN, -QUALITY_SPAN / 2, 0.0, QUALITY_SPAN / 2, QUALITY_SPAN}


@pytest.mark.parametrize(("name", "rows"), [("balle", 2), ("balle-li", 3), ("balle-li-roi", 3)])
def test_the_picture_shows_originals_reconstructions_and_importance_maps(patches, fabric, name, rows):
    validation = Validation(patches, model_of(ModelConfig(name, {"N": 8})), LOSS, fabric, None, (0, 1))
    page = validation.picture()
    assert page.shape == (rows * 48, 4 * 48, 3) and page.dtype == np.uint8
    assert np.array_equal(page[:48, :48], patches[0])


def test_psnr():
    assert psnr(0.01) == pytest.approx(20.0)
    assert psnr(0.0) == float("inf")


def test_a_long_trainings_curve_has_at_most_a_thousand_points_and_a_short_ones_every_step():
    assert [History(steps).every for steps in (12, 400, 4000, 100_000)] == [1, 20, 50, 100]


def test_it_resumes_where_its_state_ended():
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
