"""The GPU's path: the real code on fake `cuda` tensors, which any machine has and which refuse to mix devices; on a real GPU too.

Only `backward` needs a real device, so gradients are set by hand.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_model import OWN_MODELS
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorDeviceMismatchError, FakeTensorMode
from training.tiny_training import Recorder, run

from balle_li.codec.codec import Codec
from balle_li.codec.model_folder import ModelFolder
from balle_li.codec.transforms import Transforms
from balle_li.data.patch_store import PatchStore
from balle_li.models.base import build
from balle_li.registry import ModelConfig
from balle_li.training.batches import DeviceCropSource, draw_quality_maps, quality_sweep
from balle_li.training.loop import Totals, TrainingStep, quality_maps
from balle_li.training.loss import RateDistortionLoss
from balle_li.training.optimizer import make_optimizer, make_scheduler
from balle_li.training.validation import Validation

CUDA = torch.device("cuda", 0)
LOSS = RateDistortionLoss(0.01, 0.1, 400)
WEIGHTS = {"Dog": 3.0}
on_fake_tensors = pytest.mark.usefixtures("fake")
every_model = pytest.mark.parametrize("name", OWN_MODELS)


@pytest.fixture
def fake(monkeypatch):
    """Every tensor of the test is a fake one."""

    def numpy(self, force=False):
        assert force or self.device.type == "cpu", "arrays are made of tensors on the CPU"
        return np.zeros(self.shape, str(self.dtype).removeprefix("torch."))

    def to(
        self, target=None, memory_format=None
    ):  # a device or a dtype; torch's own moves tensors in place, which fake ones do not allow
        for module in self.modules():
            for own in (module._parameters, module._buffers):
                for name, value in own.items():
                    layout = memory_format if value.dim() == 4 and memory_format else torch.preserve_format
                    moved = value.detach().to(target or value.device, memory_format=layout)
                    own[name] = nn.Parameter(moved, value.requires_grad) if isinstance(value, nn.Parameter) else moved
        return self

    monkeypatch.setattr(FakeTensorMode, "__deepcopy__", lambda self, memo: self, raising=False)
    monkeypatch.setattr(FakeTensor, "numpy", numpy, raising=False)
    monkeypatch.setattr(nn.Module, "to", to)
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
    with FakeTensorMode():
        yield


def model_on_cuda(name: str):
    return on_cuda(build(ModelConfig(name, {"N": 8})))


def on_cuda(model):
    model.to(CUDA, memory_format=torch.channels_last)
    assert {value.device for value in (*model.parameters(), *model.buffers())} == {CUDA}
    return model


def crops(store) -> DeviceCropSource:
    return DeviceCropSource(PatchStore(store, "train"), 32, 4, 0, WEIGHTS, device=CUDA)


def inputs(model, store) -> tuple[Tensor, Tensor, Tensor | None]:
    """images, weights and r of a step, made as the loop makes them."""
    batch = crops(store).batch(0)
    weights = batch.weights.unsqueeze(1)
    return batch.images, weights, quality_maps(model, batch.images.shape, weights, CUDA, (0, 1))


@on_fake_tensors
def test_crops_are_cut_on_the_device(store):
    batch = crops(store).batch(3)
    assert batch.images.device == batch.weights.device == CUDA
    assert batch.images.shape == (4, 32, 32, 3) and batch.weights.shape == (4, 32, 32)


@on_fake_tensors
@pytest.mark.parametrize("boxes", [False, True])
def test_quality_maps_are_drawn_for_the_device(boxes):
    weights = torch.rand(6, 1, 32, 32, device=CUDA) if boxes else None
    r = draw_quality_maps(6, 4, 4, weights, CUDA, (1, 2))
    assert r.device == CUDA and r.shape == (6, 1, 4, 4)
    assert quality_sweep(range(3), 4, 4, CUDA).device == CUDA


@on_fake_tensors
@every_model
@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_training_step(store, name, noisy, precision):
    model = model_on_cuda(name).train()
    model.latent_codec.noisy_decoder = noisy
    step, totals = TrainingStep(model, LOSS), Totals(CUDA)
    with torch.autocast("cuda", precision, enabled=precision is not torch.float32):
        cost = step(*inputs(model, store))
    assert all(value.device == CUDA and value.dtype == torch.float32 for value in cost.values())
    totals.add(cost)
    assert cost["loss"].requires_grad


@on_fake_tensors
@every_model
@pytest.mark.parametrize("optimizer_name", ["adam", "soap"])
def test_an_optimizer_step(name, optimizer_name):
    model = model_on_cuda(name)
    optimizer = make_optimizer(model, optimizer_name, 0.01)
    scheduler = make_scheduler(optimizer, "one-cycle", 10, 0.1)
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for _ in range(2):
        optimizer.step()
    scheduler.step()
    moments = [state[name] for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    assert moments and all(moment.device == CUDA for moment in moments)


@on_fake_tensors
@every_model
def test_validation(store, name):
    fabric = SimpleNamespace(device=CUDA, autocast=lambda: torch.autocast("cuda", torch.bfloat16))
    model = model_on_cuda(name)
    validation = Validation(PatchStore(store, "validation"), model.eval(), LOSS, fabric, WEIGHTS, (0, 1))
    cost, count = validation.cost(validation.patches, 0)
    assert count == 3 and all(value.device == CUDA for value in cost.values())
    page = validation.picture()
    assert page.shape[1:] == (3 * validation.side, 3)


@on_fake_tensors
@every_model
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_codecs_transforms(name, precision):
    model = build(ModelConfig(name, {"N": 8})).eval()
    transforms = Transforms(model, CUDA, precision, tile_pixels=64)
    rgb = np.zeros((70, 150, 3), np.uint8)
    y = transforms.analyse(rgb)
    assert y.shape[1:] == transforms.grid(70, 150)
    assert transforms.synthesise(y, 70, 150, None).shape == rgb.shape
    y_hat = torch.zeros(1, *y.shape, requires_grad=True)
    assert transforms.differentiable_synthesis(y_hat).device.type == "cpu"
    importance = transforms.importance(rgb)
    assert (importance is None) == (name != "balle-li")


@on_fake_tensors
def test_a_tensor_of_another_device_is_noticed(store):
    model = model_on_cuda("balle-li-roi")
    images, weights, r = inputs(model, store)
    for wrong in ((images.cpu(), weights, r), (images, weights.cpu(), r), (images, weights, r.cpu())):
        with pytest.raises((RuntimeError, FakeTensorDeviceMismatchError), match="same device"):
            TrainingStep(model, LOSS)(*wrong)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
@every_model
def test_on_a_real_gpu_it_trains_and_streams_decode_to_the_same_latents_everywhere(store, config, tmp_path, name):
    log = Recorder()
    run(store, config(device="gpu", steps=6), tmp_path, log, model=ModelConfig(name, {"N": 8}))
    assert all(np.isfinite(log.steps[step]["train/loss"]) for step in range(1, 7))
    folder = ModelFolder.load(tmp_path / "model")
    on_gpu, on_cpu = (Codec(folder, device) for device in (CUDA, torch.device("cpu")))
    for patch in PatchStore(store, "train").read(np.arange(3)):
        data = on_gpu.compress(Image.fromarray(patch))
        assert np.array_equal(on_gpu.decode_latents(data), on_cpu.decode_latents(data))
        pixels = [np.asarray(codec.decompress(data), np.int16) for codec in (on_gpu, on_cpu)]
        assert np.abs(pixels[0] - pixels[1]).max() <= 3
