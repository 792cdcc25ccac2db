import pytest
import torch

from balle_li.errors import TrainingError
from balle_li.training import device


def test_a_gpu_that_is_not_there_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.choose_device("auto") == "cpu"
    with pytest.raises(TrainingError, match=r"train\.device is gpu, but"):
        device.choose_device("gpu")


@pytest.mark.parametrize(("dtype", "expected"), [(torch.bfloat16, "bf16"), (torch.float32, "fp32")])
def test_auto_is_the_faster_precision(monkeypatch, dtype, expected):
    monkeypatch.setattr(device, "fastest_dtype", lambda device: dtype)
    assert device.choose_precision("auto", "cpu") == expected
    assert device.choose_precision("fp32", "cpu") == "fp32"
    assert device.choose_precision("bf16", "cpu") == "bf16"


@pytest.mark.parametrize(("precision", "within"), [("fp32", "highest"), ("bf16", "medium")])
def test_only_with_bf16_may_products_lose_digits_and_only_within(precision, within):
    with pytest.raises(ZeroDivisionError), device.products_in(precision):
        assert torch.get_float32_matmul_precision() == within
        raise ZeroDivisionError
    assert torch.get_float32_matmul_precision() == "highest"


def test_the_layout_is_torchruns(monkeypatch):
    assert device.process_layout() == (1, 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert device.process_layout() == (4, 2)
