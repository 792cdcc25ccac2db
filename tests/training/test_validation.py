"""The cost on the validation patches."""

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from training.tiny_training import BALLE, ROI

from balle_li.boxes import box_weight_map, weighted
from balle_li.datasets.patch_store import PatchStore
from balle_li.models.registry import ModelConfig, build
from balle_li.quality_map import QUALITY_SPAN
from balle_li.training.batches import pixels
from balle_li.training.loss import RateDistortionLoss
from balle_li.training.validation import Validation, psnr

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
