"""A codec in processes that were forked after it was used: what DataLoader's workers are on Linux."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_model import tiny_model_folder

from balle_li.codec.codec import Codec, choose_device
from balle_li.errors import BalleLiError

PROGRAM = """
import io, os, sys
import numpy as np
import torch
from PIL import Image
import balle_li

torch.set_num_threads(2)
file = io.BytesIO()
Image.fromarray(np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)).save(file, "BLI", model=sys.argv[1])

class Pictures(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        with Image.open(io.BytesIO(file.getvalue())) as image:
            return np.asarray(image).mean()

expected = Pictures()[0]
child = os.fork()
if child == 0:
    os._exit(0 if Pictures()[0] == expected else 1)
assert os.waitpid(child, 0)[1] == 0
assert [float(mean) for mean in torch.utils.data.DataLoader(Pictures(), num_workers=2)] == [expected] * 4
"""


@pytest.fixture
def folder(tmp_path):
    return tiny_model_folder(tmp_path / "model", name="balle-li-roi")


def test_pillow_decodes_in_forked_processes(folder):
    environment = os.environ | {"BALLE_LI_MODEL": str(folder), "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stderr


def test_a_codec_of_the_gpu_changes_to_the_cpu_in_a_fork_or_says_what_to_do(folder, monkeypatch):
    """CUDA refuses to work in a fork of a process that used it; here torch only says so."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8))
    codecs = {device: Codec.load(folder, device) for device in ("auto", "cpu")}
    data = codecs["cpu"].compress(image)
    expected = codecs["cpu"].decompress(data).tobytes()
    for codec in codecs.values():
        codec.transforms.device = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    assert codecs["auto"].decompress(data).tobytes() == expected and codecs["auto"].compress(image) == data
    assert choose_device("auto").type == "cpu"
    for call in (lambda: codecs["cpu"].decompress(data), lambda: choose_device("gpu")):
        with pytest.raises(BalleLiError, match="start it with spawn") as caught:
            call()
        assert "\n" not in str(caught.value)
