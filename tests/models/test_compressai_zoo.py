"""CompressAI's models behind the house's own seam: their sizes, their streams, and what is told of them."""

import json
import random
import re
import subprocess
import sys
import zlib
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
from compressai.models import Cheng2020Anchor, MeanScaleHyperprior, ScaleHyperprior
from PIL import Image

from balle_li import registry
from balle_li.codec.bitstream import Stream
from balle_li.codec.codec import Codec
from balle_li.codec.model_folder import ModelFolder
from balle_li.errors import BalleLiError, BitstreamError, ConfigError
from balle_li.interfaces import batch
from balle_li.latents import Section
from balle_li.models.base import build
from balle_li.registry import MODELS, ModelConfig
from balle_li.training.loop import TrainingStep
from balle_li.training.loss import RateDistortionLoss

DOCUMENT = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
TABLES = ("_quantized_cdf", "_offset", "_cdf_length", "scale_table")
TRAINED_FOR = {"lmbda": 0.01, "ms_ssim_weight": 0.0}


def model_folder(path: Path, name: str = "bmshj2018-hyperprior", **arguments: int) -> Path:
    """A folder of the untrained model, whose hyper-latent says something."""
    torch.manual_seed(0)
    model = build(ModelConfig(name, arguments or {"N": 8})).eval()
    with torch.no_grad():
        for weight in model.g_a[-1].parameters():
            weight.mul_(20)
        for module in model.latent_codec.net.children():
            if module is getattr(model.latent_codec.net, "h_s", None):
                module[-2 if name == "bmshj2018-hyperprior" else -1].bias.uniform_(-1, 3)
    ModelFolder.of(model, model.latent_codec.make_tables([]), TRAINED_FOR, {}).save(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return model_folder(tmp_path_factory.mktemp("zoo") / "model")


@pytest.fixture(scope="module")
def codec(folder) -> Codec:
    return Codec.load(folder, "cpu")


def picture(height: int = 50, width: int = 70) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def net_of(model) -> dict[str, torch.Tensor]:
    """The state of the wrapped model under CompressAI's names."""
    return {key.removeprefix("latent_codec.net."): weight for key, weight in model.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "net"),
    [("bmshj2018-hyperprior", lambda: ScaleHyperprior(8, 12)), ("mbt2018-mean", lambda: MeanScaleHyperprior(8, 12))],
)
def test_it_computes_what_compressai_computes(name, net):
    model, theirs = build(ModelConfig(name, {"N": 8})).eval(), net().eval()
    missing = torch.nn.Module.load_state_dict(theirs, net_of(model), strict=False)
    assert not missing.unexpected_keys and all(key.endswith(TABLES) for key in missing.missing_keys)
    x = torch.rand(1, 3, 64, 128)
    with torch.no_grad():
        ours, expected = model(x), theirs(x)
    assert torch.allclose(ours["x_hat"], expected["x_hat"], atol=1e-5)
    for latent in ("y", "z"):
        assert torch.allclose(ours["likelihoods"][latent], expected["likelihoods"][latent], atol=1e-5)


def test_the_strings_are_compressais_own(folder, codec):
    model = ModelFolder.load(folder).model
    theirs = ScaleHyperprior(8, 12).eval()
    torch.nn.Module.load_state_dict(theirs, net_of(model), strict=False)
    theirs.update(force=True)
    image = picture(64, 128)
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        expected = theirs.compress(x)
        x_hat = theirs.decompress(**expected)["x_hat"]
    data = codec.compress(image)
    sections = Stream.unpack(data).sections
    assert [sections[Section.LATENTS], sections[Section.HYPER_LATENTS]] == [
        strings[0] for strings in expected["strings"]
    ]
    decoded = np.asarray(codec.decompress(data)).astype(float)
    assert np.abs(decoded - x_hat[0].permute(1, 2, 0).numpy() * 255).max() <= 1


def test_sizes_are_the_published_ones_or_ones_own():
    assert build(ModelConfig("bmshj2018-hyperprior", {"N": 8})).latent_codec.net.M == 12
    assert build(ModelConfig("mbt2018", {"N": 8})).latent_codec.net.M == 8
    assert build(ModelConfig("bmshj2018-hyperprior", {"N": 8, "M": 9})).latent_codec.net.M == 9
    published = build(ModelConfig("bmshj2018-factorized", {"quality": 6, "N": 192}))
    assert (published.latent_codec.net.N, published.latent_codec.net.M) == (192, 320)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("mbt2018", {}, "model.N is missing; mbt2018 needs it, or model.quality, 1 to 8"),
        ("cheng2020-attn", {"quality": 7}, "model.quality is 7; cheng2020-attn is published at 1 to 6"),
        ("mbt2018", {"quality": 1, "N": 64}, "model.N is 64, but mbt2018 of quality 1 has 192; take model.N out"),
        ("mbt2018", {"N": 64, "pretrained": True}, "model.pretrained needs model.quality, 1 to 8"),
        ("mbt2018", {"N": 8, "M": 2000}, "model.M is 2000, must be between 1 and 1024"),
        ("cheng2020-attn", {"N": 8, "M": 8}, "model.M is unknown: "),
    ],
)
def test_other_sizes_are_one_line(name, arguments, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        build(ModelConfig(name, arguments))


def test_torch_would_write_past_its_memory_where_chengs_models_train_channels_last():
    assert build(ModelConfig("cheng2020-anchor", {"N": 8})).memory_format is torch.contiguous_format
    assert build(ModelConfig("mbt2018", {"N": 8})).memory_format is torch.channels_last


def test_compressai_is_imported_by_its_models_names_alone(root):
    program = (
        "import sys, balle_li\nfrom balle_li.codec.codec import Codec\nfrom balle_li.registry import ModelConfig\n"
        "Codec.load(None, 'cpu')\n"
        "ModelConfig('mbt2018', {'N': 8})\nprint('compressai' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_stream_of_another_machine_is_an_error_and_no_picture(codec, monkeypatch):
    data = codec.compress(picture())
    h_s = codec.latents.net.h_s
    bias = h_s[-2].bias.detach().clone()
    with torch.no_grad():
        h_s[-2].bias.add_(1e-2)  # a float that another machine's sums could end in, but larger
    with pytest.raises(
        BitstreamError, match="on the kind of processor, and with the number of threads, that coded the"
    ):
        codec.decompress(data)
    with torch.no_grad():
        h_s[-2].bias.copy_(bias)
    assert codec.decompress(data).size == (70, 50)


def test_what_it_cannot_do_is_one_line(codec):
    with pytest.raises(BalleLiError, match="cannot be given an effort; leave it out"):
        codec.compress(picture(), effort=1)
    with pytest.raises(BalleLiError, match="has one rate and cannot be given a quality"):
        codec.compress(picture(), quality=40)
    with pytest.raises(BalleLiError, match="bmshj2018-hyperprior codes pictures in one piece"):
        codec.compress(Image.new("RGB", (8192, 4096)))


def test_info_says_where_a_stream_decodes(codec, tmp_path):
    (tmp_path / "picture.bli").write_bytes(codec.compress(picture()))
    facts = batch.describe_stream(str(tmp_path / "picture.bli"))
    assert facts["decodes"] == "on the kind of processor, and with the number of threads, that coded it"
    assert facts["sections"]["symbol_checksum"] == 4


def test_several_threads_code_at_once(codec):
    from concurrent.futures import ThreadPoolExecutor

    images = [picture(40 + 8 * number, 70) for number in range(6)]
    with ThreadPoolExecutor(3) as pool:
        streams = list(pool.map(codec.compress, images))
        decoded = list(pool.map(codec.decompress, streams))
    assert streams == [codec.compress(image) for image in images]
    assert [image.size for image in decoded] == [image.size for image in images]


def test_a_stream_with_any_byte_changed_ends_in_one_line_or_in_a_picture(codec):
    data, dice = codec.compress(picture(16, 16)), random.Random(0)

    def end(place: int, mended: bool) -> str:
        damaged = bytearray(data)
        damaged[place] ^= dice.randrange(1, 256)
        if mended:  # the container's checksum fits again, so that what it protects is reached
            damaged[-4:] = zlib.crc32(damaged[:-4]).to_bytes(4, "little")
        try:
            codec.decompress(bytes(damaged)).load()
        except BitstreamError as error:
            assert "\n" not in str(error)
            return "line"
        return "picture"

    assert {end(place, mended=False) for place in range(len(data))} == {"line"}
    ends = [end(place, mended=True) for place in range(14, len(data) - 4, max(1, len(data) // 40))]
    assert ends.count("line") > len(ends) / 2


def test_damaged_streams_end_in_an_error_or_a_picture(root, folder):
    command = [sys.executable, str(root / "benchmarks" / "fuzz_bitstream.py"), "--streams", "50", "--seed", "7"]
    done = subprocess.run([*command, "--model", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "50 streams, 0 failed" in done.stdout


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("gaussian_conditional._quantized_cdf", lambda table: table[:, :-1], "a row's length must be"),
        ("gaussian_conditional._quantized_cdf", lambda table: table.flip(1), "must rise from 0"),
        ("entropy_bottleneck._cdf_length", lambda table: table + 1000, "a row's length must be between 3 and"),
        ("entropy_bottleneck._offset", lambda table: table[1:], "must have 8 rows"),
        ("gaussian_conditional.scale_table", lambda table: table.double(), "scale_table must be float32"),
    ],
)
def test_tables_that_would_lead_compressais_decoder_astray_are_refused(folder, table, change, message):
    made = ModelFolder.load(folder)
    with pytest.raises(BalleLiError, match=message):
        made.model.latent_codec.set_tables({**made.tables, table: change(made.tables[table].clone())})


def test_a_weight_that_is_not_finite_ends_the_training_with_a_line():
    model = build(ModelConfig("mbt2018-mean", {"N": 4})).eval()
    with torch.no_grad():
        model.latent_codec.net.h_s[0].weight[0] = torch.nan
    with pytest.raises(BalleLiError, match="the training diverged"):
        model.latent_codec.make_tables([])


def test_the_fingerprint_is_of_all_that_decodes(folder):
    made = ModelFolder.load(folder)
    before = made.fingerprint
    with torch.no_grad():
        made.model.latent_codec.net.h_s[0].weight[0, 0, 0, 0] += 1e-3
    assert ModelFolder(made.model, made.tables, made.description).fingerprint != before


def test_the_model_that_the_document_shows(tmp_path, monkeypatch):
    """docs/extending.md: another package's model of CompressAI's kind trains and codes."""
    section = DOCUMENT.split("## A model of CompressAI's kind")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    ((name, value),) = re.findall(r'balle_li.models"\]\n([\w-]+) = "(.*?)"', section)
    module = tmp_path / value.partition(":")[0].replace(".", "/")
    module.parent.mkdir()
    module.with_suffix(".py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "_offered", lambda group: {name: EntryPoint(name, value, MODELS.group)})
    torch.manual_seed(0)
    model = build(ModelConfig(name, {"N": 8}))
    step = TrainingStep(model, RateDistortionLoss(0.01, 0.0))
    step(torch.zeros(1, 64, 64, 3, dtype=torch.uint8), None, None)["loss"].backward()
    assert all(weight.grad is not None for weight in model.parameters() if weight.requires_grad)
    ModelFolder.of(model.eval(), model.latent_codec.make_tables([]), TRAINED_FOR, {}).save(tmp_path / "model")
    assert json.loads((tmp_path / "model" / "model.json").read_text())["model"] == {"name": name, "N": 8}
    codec = Codec.load(tmp_path / "model", "cpu")
    assert codec.decompress(codec.compress(picture())).size == (70, 50)
    assert not isinstance(model.latent_codec.net, Cheng2020Anchor)
