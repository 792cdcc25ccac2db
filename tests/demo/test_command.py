import sys
import types

import pytest

from balle_li.demo.trials import released_models
from balle_li.interfaces import cli

FOLDER = released_models()["tuned for MS-SSIM"]


@pytest.fixture
def run(monkeypatch, capsys):
    """Run `balle-li` with these arguments; gives exit code and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["balle-li", *arguments])
        with pytest.raises(SystemExit) as leaving:
            cli.main()
        return leaving.value.code or 0, capsys.readouterr().err

    return run


def test_the_command_serves_the_released_models_on_this_machine(run, monkeypatch):
    served = []
    page = types.SimpleNamespace(serve=lambda *arguments: served.append(arguments))
    monkeypatch.setitem(sys.modules, "balle_li.demo.page", page)
    monkeypatch.delenv("BALLE_LI_MODEL", raising=False)
    assert run("demo")[0] == 0
    assert run("demo", "--host", "0.0.0.0", "--port", "8000", "--no-browser", "--model", str(FOLDER))[0] == 0
    assert served == [(None, "127.0.0.1", None, "auto", True), (FOLDER, "0.0.0.0", 8000, "auto", False)]


def test_a_missing_extra_is_one_line(run, monkeypatch):
    monkeypatch.delitem(sys.modules, "balle_li.demo.page", raising=False)
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert run("demo") == (1, "balle-li: the page needs gradio: pip install 'balle-li[demo]'\n")


def test_a_missing_model_is_one_line(run, tmp_path):
    pytest.importorskip("gradio", reason="gradio is missing: the page is the extra [demo]")
    code, said = run("demo", "--model", str(tmp_path / "nowhere"))
    assert code == 1 and said.startswith("balle-li: ") and said.count("\n") == 1
