"""A small project, as the stages before evaluate leave it."""

from pathlib import Path

import pytest
from evaluation.stages import make_stages


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `make_stages` makes, in a project of its own."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return make_stages(tmp_path)
