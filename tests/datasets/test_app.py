"""The App's command line; what it shows is tested with curation."""

import socket
from pathlib import Path

import pytest

from balle_li.datasets.app import main


def test_without_a_manifest_it_names_the_command_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port", "0", "--raw", str(tmp_path), "--curated", str(tmp_path)]) == 1
    assert "kedro run --pipeline curate" in capsys.readouterr().err


def test_a_taken_port_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["--port", str(port), "--raw", str(tmp_path), "--curated", str(tmp_path)]) == 1
    assert f"port {port} is taken" in capsys.readouterr().err
