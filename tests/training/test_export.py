import numpy as np
import pytest
import torch
from compressai.entropy_models import EntropyBottleneck as TheirBottleneck
from PIL import Image

from balle_li.codec.codec import Codec
from balle_li.codec.model_folder import ModelFolder
from balle_li.models.balle_li_roi import BalleLiRoi
from balle_li.models.config import ModelConfig
from balle_li.models.entropy import EntropyBottleneck
from balle_li.models.registry import build, names
from balle_li.training.export import MAX_REACH, TAIL_MASS, factorized_tables, model_folder


def trained_bottleneck() -> EntropyBottleneck:
    """One whose channels have different places and widths."""
    torch.manual_seed(1)
    bottleneck = EntropyBottleneck(4)
    bottleneck.matrices[0].data += torch.tensor([0.0, 1.0, 2.0, 3.0]).view(4, 1, 1)
    bottleneck.biases[0].data += torch.tensor([-3.0, 0.0, 2.0, 8.0]).view(4, 1, 1)
    return bottleneck


def test_tables_are_the_bottlenecks_probabilities():
    bottleneck = trained_bottleneck()
    tables = factorized_tables(bottleneck)
    for channel in range(4):
        offset, length = int(tables["offset"][channel]), int(tables["length"][channel])
        symbols = torch.arange(offset, offset + length - 1)
        values = torch.zeros(4, 1, len(symbols)) + symbols + tables["median"].view(4, 1, 1)
        expected = bottleneck._likelihood(values)[0][channel, 0].detach()
        got = tables["frequencies"][channel, : length - 1] / 2**16
        np.testing.assert_allclose(got.numpy(), expected.numpy(), atol=(length + 2) * 2**-16)
        assert 1 - float(expected.sum()) <= TAIL_MASS + 1e-5
        escape = int(tables["frequencies"][channel, length - 1])
        assert escape >= 1
        assert int(tables["frequencies"][channel].sum()) == 2**16


def test_medians_are_compressais():
    ours = trained_bottleneck()
    theirs = TheirBottleneck(4)
    theirs.load_state_dict(ours.state_dict())
    theirs.update(force=True, update_quantiles=True)
    np.testing.assert_allclose(factorized_tables(ours)["median"], theirs.quantiles[:, 0, 1].detach(), atol=2e-3)


def test_a_very_wide_channel_is_left_to_the_escape():
    bottleneck = EntropyBottleneck(2)
    bottleneck.matrices[0].data -= 5.0  # flat: values in the thousands are likely
    tables = factorized_tables(bottleneck)
    assert tables["length"].tolist() == [2 * MAX_REACH + 2] * 2
    assert all(int(tables["frequencies"][channel, -1]) > 2**12 for channel in (0, 1))


@pytest.mark.parametrize("name", names())
def test_the_folder_codes_as_the_model_does(name, tmp_path):
    torch.manual_seed(0)
    model = build(ModelConfig(name, 8)).eval()
    if isinstance(model, BalleLiRoi):
        state = model.h_c[-1].state_dict()  # next to nought before training
        model.h_c[-1].load_state_dict(state | {"weight": 0.3 * torch.randn_like(state["weight"])})
    model_folder(model, 0.02, {"steps": 3}).save(tmp_path)
    assert ModelFolder.load(tmp_path).description["training"] == {"steps": 3}
    assert ModelFolder.load(tmp_path).description["lmbda"] == 0.02

    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    codec = Codec(ModelFolder.load(tmp_path), torch.device("cpu"), torch.float32)
    decoded = np.asarray(codec.decompress(codec.compress(Image.fromarray(image))))

    for bottleneck in model.bottlenecks().values():
        bottleneck.quantiles.data[:, 0, 1] = factorized_tables(bottleneck)["median"]
    x = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        expected = model(x)["x_hat"].clamp(0, 1).mul(255).round()[0].permute(1, 2, 0).numpy()
    assert np.abs(decoded - expected).mean() < 0.1
