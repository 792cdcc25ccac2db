"""`from balle_li import Codec, Box, EncodeOptions, BitstreamError`: there at once, loaded when used."""

import subprocess
import sys
import tomllib

import numpy as np
import pytest
from PIL import Image
from small_project import ROOT

import balle_li
from balle_li.errors import BalleLiError, MissingExtraError, need


def test_every_name_is_there():
    for name in balle_li.__all__:
        assert getattr(balle_li, name) is not None
        assert name in dir(balle_li)
    assert balle_li.Codec.__module__ == "balle_li.codec.codec"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Codek'"):
        balle_li.Codek  # noqa: B018


def test_importing_it_loads_nothing_heavy():
    heavy = (
        "torch",
        "compressai",
        "lightning_fabric",
        "mlflow",
        "pandas",
        "fiftyone",
        "pydantic",
        "scipy",
        "typer",
        "constriction",
        "balle_li.codec.codec",
    )
    code = f"import sys, balle_li; from balle_li import Box; print([name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_the_codec_loads_nothing_of_the_workflow():
    heavy = (
        "compressai",
        "lightning_fabric",
        "mlflow",
        "pandas",
        "fiftyone",
        "pydantic",
        "kedro",
        "dvc",
        "distributed",
    )
    code = f"import sys; from balle_li import Codec; Codec.load(); print([name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_a_missing_extra_is_named_in_one_line():
    with pytest.raises(MissingExtraError) as raised:
        need("balle_li.training", "workflow", "json", "lightening", "mlflo")
    assert str(raised.value) == "balle_li.training needs lightening, mlflo: pip install 'balle-li[workflow]'"
    assert isinstance(raised.value, BalleLiError) and isinstance(raised.value, ImportError)
    need("balle_li.training", "workflow", "json")


def test_the_version_is_that_of_the_package():
    assert balle_li.__version__ == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_what_the_docstring_shows_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)).save("photo.jpg")
    lines = [line.removeprefix(">>> ") for line in (balle_li.__doc__ or "").splitlines() if line.startswith(">>> ")]
    exec("\n".join(lines), {})
    assert Image.open("photo.png").size == (96, 64)
