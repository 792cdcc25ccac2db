"""The command line as a shell runs it, in a folder with three pictures and a tiny model as the default one."""

import io
import sys
import types

import pytest
from small_picture import picture
from tiny_model import tiny_model_folder

from balle_li.codec.codec import Codec
from balle_li.interfaces import cli, default_codec


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("BALLE_LI_MODEL", str(tiny_model_folder(tmp_path / "model")))
    monkeypatch.chdir(tmp_path)
    default_codec.cache_clear()
    for index, name in enumerate(("a.png", "b.webp", "deep/c.png")):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        picture(index).save(tmp_path / "photos" / name, lossless=True)
    yield tmp_path
    default_codec.cache_clear()


@pytest.fixture
def run(monkeypatch, capfd):
    """Run the command as a shell would; gives exit code, standard output (bytes) and standard error."""

    def run(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "argv", ["balle-li", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(stdin)))
        out = io.TextIOWrapper(io.BytesIO())
        monkeypatch.setattr(sys, "stdout", out)
        with pytest.raises(SystemExit) as leaving:
            cli.main()
        out.flush()
        return leaving.value.code or 0, out.buffer.getvalue(), capfd.readouterr().err

    return run


@pytest.fixture
def variable(folder, monkeypatch):
    """The default model is a variable-rate one."""
    monkeypatch.setenv("BALLE_LI_MODEL", str(tiny_model_folder(folder / "roi", "balle-li-roi")))
    default_codec.cache_clear()
    return Codec.load(folder / "roi")
