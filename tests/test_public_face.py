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


def loaded(code: str, names: tuple[str, ...]) -> list[str]:
    """Which of the modules `names` a Python of its own has loaded after `code`."""
    code = f"import sys; {code}; print(*[name for name in {names} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


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
    assert loaded("import balle_li; from balle_li import Box", heavy) == []


def test_the_codec_loads_nothing_of_the_workflow():
    workflow = ("mlflow", "pandas", "fiftyone", "pydantic", "kedro", "dvc", "distributed")
    heavy = ("compressai", "lightning_fabric", *workflow)
    assert loaded("from balle_li import Codec; Codec.load()", heavy) == []


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
