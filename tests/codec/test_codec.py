import io
import resource
import time
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_model import tiny_model, tiny_model_folder

from balle_li.boxes import Box
from balle_li.codec.bitstream import Extra, Stream
from balle_li.codec.codec import Codec, choose_device, pack_alpha, unpack_alpha
from balle_li.codec.model_folder import ModelFolder
from balle_li.errors import BalleLiError, BitstreamError
from balle_li.latents import Section

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["balle", "balle-li-roi"])
def codec(request):
    return Codec(tiny_model(request.param), CPU)


def picture(height, width, channels=3, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(pixels.squeeze(2) if channels == 1 else pixels)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (15, 17), (16, 16), (130, 257)])
def test_any_size_comes_back(codec, size):
    image = codec.decompress(codec.compress(picture(*size)))
    assert (image.height, image.width) == size and image.mode == "RGB"


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_modes_come_back_and_alpha_is_lossless(codec, channels, mode):
    image = picture(40, 50, channels) if channels != 2 else picture(40, 50, 4).convert("LA")
    decoded = codec.decompress(codec.compress(image))
    assert decoded.mode == mode == image.mode
    if "A" in mode:
        assert np.array_equal(np.asarray(decoded.getchannel("A")), np.asarray(image.getchannel("A")))


def test_metadata_is_kept_unless_stripped(codec):
    image, exif = picture(20, 20), Image.Exif()
    exif[0x010F] = "a camera"
    info = {"icc_profile": b"profile" * 500, "exif": exif.tobytes(), "xmp": b"<x:xmpmeta/>", "dpi": (300.0, 72.5)}
    image.info |= info
    assert codec.decompress(codec.compress(image)).info == info
    stripped = codec.compress(image, strip=True)
    assert codec.decompress(stripped).info == {} and stripped == codec.compress(picture(20, 20))


def test_what_cannot_be_kept_is_logged(codec, caplog):
    image = picture(20, 20)
    image.info["exif"] = b"Exif\0\0tags"
    assert codec.decompress(codec.compress(image)).info == {}
    assert [record.getMessage() for record in caplog.records] == ["its EXIF is damaged and is left out"]


@pytest.mark.parametrize("name", ["balle", "balle-encoder", "balle-li", "balle-li-roi"])
def test_latents_are_the_same_for_every_thread_count_and_precision(name):
    model = tiny_model(name)
    by_float32, by_bfloat16 = Codec(model, CPU, torch.float32), Codec(model, CPU, torch.bfloat16)
    boxes = [Box(0.2, 0.1, 0.7, 0.8, "face")] if name == "balle-li-roi" else []
    threads = torch.get_num_threads()
    try:
        for maker in (by_float32, by_bfloat16):
            torch.set_num_threads(2)
            data = maker.compress(picture(70, 120), boxes=boxes)
            made = maker.decode_latents(data)
            assert made.std() > 0.5
            for reader in (by_float32, by_bfloat16):
                for count in (1, 2):
                    torch.set_num_threads(count)
                    assert np.array_equal(reader.decode_latents(data), made)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("name", ["balle", "balle-li-roi"])
def test_latents_made_on_a_gpu_decode_on_a_cpu(name):
    model = tiny_model(name)
    gpu, cpu = Codec(model, torch.device("cuda")), Codec(model, CPU)
    data = gpu.compress(picture(70, 120))
    assert np.array_equal(cpu.decode_latents(data), gpu.decode_latents(data))
    data = cpu.compress(picture(70, 120))
    assert np.array_equal(cpu.decode_latents(data), gpu.decode_latents(data))


@pytest.mark.parametrize("name", ["balle", "balle-li-roi"])
def test_the_file_is_within_one_per_cent_of_the_tables_rate(name):
    codec, image = Codec(tiny_model(name, N=32), CPU), picture(256, 256)
    analysis = codec.analyse(image)
    size, predicted = len(codec.compress(image)), analysis.bits.sum() / 8
    assert analysis.bits.shape == (16, 16) and (analysis.importance is None) == (name == "balle")
    assert predicted < size < min(1.01 * predicted, predicted + 45)


def test_analysis_carries_the_importance_map():
    analysis = Codec(tiny_model("balle-li"), CPU).analyse(picture(50, 70))
    assert analysis.importance.shape == analysis.bits.shape == (4, 5)


def test_another_models_stream_is_refused(codec):
    with pytest.raises(BitstreamError, match="made by model"):
        codec.decompress(Codec(tiny_model(seed=1), CPU).compress(picture(20, 20)))


def test_streams_decode_with_a_retrained_encoder(codec):
    folder = tiny_model(codec.name)
    with torch.no_grad():
        for weight in folder.model.g_a.parameters():
            weight.add_(0.01)
    retrained = Codec(ModelFolder(folder.model, folder.tables, folder.description), CPU)
    data = codec.compress(picture(40, 40))
    assert np.array_equal(retrained.decode_latents(data), codec.decode_latents(data))


@pytest.mark.parametrize("size", [(10**9, 10**9), (2**28, 1), (1, 2**28), (2**14, 2**14), (10**5, 10**3)])
def test_lying_sizes_are_refused_at_once(codec, size):
    stream = Stream.unpack(codec.compress(picture(50, 50)))
    data = Stream(stream.fingerprint, *size, stream.grey, stream.sections).pack()
    held, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with pytest.raises(BitstreamError):
        codec.decompress(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held < 100 * 1024
    assert time.perf_counter() - start < 5


def test_a_stream_without_latents_is_refused(codec):
    sections = dict(Stream.unpack(codec.compress(picture(20, 20))).sections)
    for missing in {Section.LATENTS, Section.HYPER_LATENTS, Section.QUALITY_MAP} & set(sections):
        rest = {tag: content for tag, content in sections.items() if tag != missing}
        with pytest.raises(BitstreamError, match=f"no {Section(missing).name.lower()}"):
            codec.decompress(Stream(codec.fingerprint, 20, 20, False, rest | {Extra.ICC: b""}).pack())


def test_pictures_too_large_are_refused_before_they_are_read(codec):
    with pytest.raises(BalleLiError, match="at most"):
        codec.compress(Image.new("1", (2**16, 2**12 + 1)))


def test_loading_from_a_folder_and_choosing_devices(tmp_path, codec):
    name = codec.name
    loaded = Codec.load(tiny_model_folder(tmp_path, name), "cpu")
    assert loaded.fingerprint == codec.fingerprint and loaded.name == name
    with pytest.raises(BalleLiError, match="unknown"):
        choose_device("tpu?")
    with pytest.raises(BalleLiError, match="not there"):
        choose_device("cuda:99")


@pytest.mark.parametrize("name", ["mps", "xpu", "vulkan", "meta", "meta:0"])
def test_devices_that_torch_names_and_cannot_use_here_are_refused_in_one_line(name):
    if name in ("mps", "xpu") and getattr(torch, name).is_available():
        pytest.skip("it is here")
    with pytest.raises(BalleLiError, match="device") as caught:
        choose_device(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["kodim01.png", "kodim04.png"])
def test_a_photograph_gives_the_same_bytes_and_pixels_each_time(codec, shared, name):
    image = Image.open(shared / "kodak" / name)
    data = codec.compress(image)
    assert codec.compress(image) == data
    file = io.BytesIO()
    codec.decompress(data).save(file, "PNG")
    assert np.array_equal(np.asarray(Image.open(file)), np.asarray(codec.decompress(data)))


ALPHA = np.random.default_rng(0).integers(0, 256, (5, 7), dtype=np.uint8)


def test_alpha_is_lossless():
    for plane in (ALPHA, np.full((300, 200), 255, np.uint8), np.zeros((1, 1), np.uint8)):
        assert np.array_equal(unpack_alpha(pack_alpha(plane), *plane.shape), plane)
    assert len(pack_alpha(np.full((300, 200), 255, np.uint8))) < 400


@pytest.mark.parametrize(
    "data", [b"", b"nonsense", zlib.compress(bytes(10**7)), zlib.compress(bytes(34)), zlib.compress(bytes(35))[:-1]]
)
def test_damaged_alpha_is_refused(data):
    with pytest.raises(BitstreamError):
        unpack_alpha(data, 5, 7)
