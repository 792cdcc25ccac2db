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


def test_quality_and_boxes_ask_a_model_of_variable_rate(folder, image, picture):
    answer, codec = served(folder), Codec.load(folder, "cpu")
    assert answer(picture, quality=80.0) == [codec.compress(image, quality=80)] != answer(picture, quality=20.0)
    boxes = [Box(0.1, 0.2, 0.5, 0.9, weight=1.5)]
    assert answer(picture, boxes=json.dumps(BOXES)) == [codec.compress(image, boxes=boxes)] != answer(picture)
    assert answer(picture, quality=None, boxes="") == answer(picture)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"operation": "shrink"}, "must be one of compress, decompress"),
        ({"quality": 120.0}, "quality is 120"),
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


def test_damaged_data_is_refused(folder, picture, refusal):
    answer = served(folder)
    for data in (b"", b"nonsense", picture[: len(picture) // 2]):
        with pytest.raises(refusal, match="data is not a picture"):
            answer(data)
        with pytest.raises(refusal) as caught:
            answer(data, operation="decompress")
        assert caught.value.get_http_status_code() == 400


def test_a_model_of_one_rate_says_that_it_is(tmp_path, picture, refusal):
    answer = served(tiny_model_folder(tmp_path / "model", name="balle"))
    for params in ({"quality": 80.0}, {"boxes": json.dumps(BOXES)}):
        with pytest.raises(refusal, match="balle"):
            answer(picture, **params)


def test_a_picture_that_is_too_large_is_told_so(folder, refusal, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 89_478_485)  # Pillow's own; the command line raises it
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, format="PNG")
    with pytest.raises(refusal, match="the picture is too large: it has more than 179 megapixels") as caught:
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
