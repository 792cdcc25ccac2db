"""What the served model makes of a table of pictures; that a server serves it is tested in tests/workflow."""

import io
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny_model import tiny_model_folder

from balle_li.boxes import Box
from balle_li.codec.codec import Codec

BOXES = [{"xmin": 0.1, "ymin": 0.2, "xmax": 0.5, "ymax": 0.9, "weight": 1.5}]


def served(folder):
    from balle_li.tracking.serving_model import CodecModel

    model = CodecModel()
    model.load_context(SimpleNamespace(artifacts={"model_folder": str(folder)}))
    return lambda *data, **params: list(model.predict(None, pd.DataFrame({"data": data}), params)["data"])


@pytest.fixture
def refusal():
    """The exception that a server answers with status 400. Imported late: FiftyOne cannot be imported after MLflow."""
    from mlflow.exceptions import MlflowException

    return MlflowException


@pytest.fixture
def folder(tmp_path):
    return tiny_model_folder(tmp_path / "model", name="balle-li-roi")


@pytest.fixture
def image():
    coarse = np.random.default_rng(0).integers(0, 255, (8, 12, 3), np.uint8)
    return Image.fromarray(coarse).resize((96, 64), Image.Resampling.BICUBIC)


@pytest.fixture
def picture(image):
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


def test_it_gives_the_codecs_streams_and_pictures(folder, image, picture):
    answer, codec = served(folder), Codec.load(folder, "cpu")
    assert answer(picture, picture) == [codec.compress(image)] * 2
    (decoded,) = answer(codec.compress(image), operation="decompress")
    with Image.open(io.BytesIO(decoded)) as found:
        assert found.format == "PNG" and found.tobytes() == codec.decompress(codec.compress(image)).tobytes()


def test_quality_and_boxes_need_a_variable_rate_model(folder, image, picture):
    answer, codec = served(folder), Codec.load(folder, "cpu")
    assert answer(picture, quality=80.0) == [codec.compress(image, quality=80)] != answer(picture, quality=20.0)
    boxes = [Box(0.1, 0.2, 0.5, 0.9, weight=1.5)]
    assert answer(picture, boxes=json.dumps(BOXES)) == [codec.compress(image, boxes=boxes)] != answer(picture)
    assert answer(picture, quality=None, boxes="") == answer(picture, tune="psnr") == answer(picture)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"operation": "shrink"}, "must be one of compress, decompress"),
        ({"quality": 120.0}, "quality is 120"),
        ({"tune": "ms-ssim"}, "tune is 'ms-ssim', but the served model is tuned for psnr"),
        ({"boxes": "{"}, "boxes must be JSON"),
        ({"boxes": '[{"left": 1}]'}, "boxes must be JSON"),
        ({"boxes": "[3]"}, "boxes must be JSON"),
        ({"boxes": '[{"xmin": 0.5, "ymin": 0.2, "xmax": 0.1, "ymax": 0.9}]'}, "not inside its picture"),
    ],
)
def test_what_will_not_do_is_refused_with_status_400(folder, picture, refusal, params, message):
    with pytest.raises(refusal, match=message) as caught:
        served(folder)(picture, **params)
    assert caught.value.get_http_status_code() == 400 and "\n" not in caught.value.message


def test_damaged_data_is_refused_by_its_row(folder, picture, refusal):
    answer = served(folder)
    for data, reason in (
        (b"", "the file is empty"),
        (b"nonsense", "not a picture"),
        (picture[: len(picture) // 2], "cannot be decoded"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
    ):
        with pytest.raises(refusal, match=f"^row 1: .*{reason}") as caught:
            answer(picture, data)
        assert caught.value.get_http_status_code() == 400 and "\n" not in caught.value.message
        with pytest.raises(refusal, match=r"^row 0: ") as caught:
            answer(data, operation="decompress")
        assert caught.value.get_http_status_code() == 400


def test_a_decoder_that_fails_in_its_own_way_is_refused(folder, refusal):
    file = io.BytesIO()
    Image.effect_noise((64, 64), 90).convert("RGB").save(file, "AVIF")
    data = bytearray(file.getvalue())
    start = data.index(b"mdat") + 4
    data[start:] = b"\xff" * (len(data) - start)  # libavif finds that out as it decodes, and Pillow raises RuntimeError
    with pytest.raises(refusal, match="row 0: cannot be decoded") as caught:
        served(folder)(bytes(data))
    assert caught.value.get_http_status_code() == 400


def test_metadata_goes_through(folder):
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x010F] = "a camera"
    Image.new("RGB", (40, 30)).save(file, "JPEG", exif=exif, dpi=(300, 300))
    answer = served(folder)
    (decoded,) = answer(*answer(file.getvalue()), operation="decompress")
    found = Image.open(io.BytesIO(decoded))
    assert found.getexif()[0x010F] == "a camera" and round(found.info["dpi"][0]) == 300


def test_a_model_of_one_rate_says_that_it_is(tmp_path, picture, refusal):
    answer = served(tiny_model_folder(tmp_path / "model", name="balle"))
    for params in ({"quality": 80.0}, {"boxes": json.dumps(BOXES)}):
        with pytest.raises(refusal, match="balle"):
            answer(picture, **params)


def test_a_picture_that_is_too_large_is_told_so(folder, refusal, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 89_478_485)  # Pillow's own; the command line raises it
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, format="PNG")
    with pytest.raises(refusal, match="row 0: the picture is too large: it has more than 179 megapixels") as caught:
        served(folder)(file.getvalue())
    assert caught.value.get_http_status_code() == 400


def test_a_parameter_that_mlflow_leaves_out_is_refused(folder, refusal):
    from mlflow.models.utils import _enforce_params_schema
    from mlflow.types import ParamSchema, ParamSpec

    served(folder)
    schema = ParamSchema([ParamSpec("quality", "double", None)])
    assert _enforce_params_schema({"quality": 50.0}, schema) == {"quality": 50.0}
    with pytest.raises(refusal, match="parameter 'qualty' is unknown: did you mean 'quality'") as caught:
        _enforce_params_schema({"qualty": 50.0}, schema)
    assert caught.value.get_http_status_code() == 400
