import platform
from pathlib import Path

import pytest
import torch

from balle_li.codec import dtype
from balle_li.codec.dtype import fastest_dtype


@pytest.mark.parametrize(
    ("avx512", "amx", "intel", "expected"),
    [
        (True, False, False, torch.bfloat16),
        (True, False, True, torch.float32),
        (True, True, True, torch.bfloat16),
        (False, False, False, torch.float32),
    ],
)
def test_bf16_is_for_processors_that_are_faster_in_it(monkeypatch, avx512, amx, intel, expected):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(dtype, "_is_intel", lambda: intel)
    assert fastest_dtype(torch.device("cpu")) is expected


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), torch.float32), ((8, 0), torch.bfloat16)])
def test_bf16_is_for_gpus_from_ampere_on(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert fastest_dtype(torch.device("cuda")) is expected


def test_other_devices_compute_in_float32():
    assert fastest_dtype(torch.device("mps")) is torch.float32


@pytest.mark.parametrize(("vendor", "intel"), [("GenuineIntel", True), ("AuthenticAMD", False)])
def test_the_maker_is_read_where_linux_says_it_and_asked_of_python_elsewhere(monkeypatch, vendor, intel):
    monkeypatch.setattr(Path, "read_text", lambda path: f"processor : 0\nvendor_id : {vendor}\n")
    assert dtype._is_intel.__wrapped__() is intel

    def missing(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr(
        platform, "processor", lambda: f"Intel64 Family 6 Model 143 Stepping 8, {vendor}" if intel else vendor
    )
    assert dtype._is_intel.__wrapped__() is intel
