"""A mirror of the shared photographs, a project folder of its own, and retries that do not wait."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import urllib3
from botocore.retries.standard import ExponentialBackoff
from mirror import Mirror

from balle_li.data.open_images import metadata, pictures
from balle_li.data.sources.open_images import OpenImages


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's home, in which the cache of what was fetched lies."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("DVC_ROOT", str(folder))
    return folder


def _pointed_to(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(metadata.HOST_SETTING, mirror.url)
    monkeypatch.setenv(pictures.MIRROR_SETTING, mirror.url)


@pytest.fixture
def mirror(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """The shared photographs, served; the two settings point to it."""
    with Mirror(shared / "labelled-photos") as server:
        _pointed_to(server, monkeypatch)
        yield server


@pytest.fixture
def empty_mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A mirror that serves only the `bodies` a test gives it."""
    with Mirror(None) as server:
        _pointed_to(server, monkeypatch)
        yield server


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many attempts as for users, without the waits between them."""
    monkeypatch.setattr(urllib3.Retry, "sleep", lambda *_: None)
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0)


@pytest.fixture
def config() -> Callable[..., OpenImages]:
    """Make a selection, by default of six pictures."""

    def make(**changes: object) -> OpenImages:
        values = {
            "splits": ["validation", "test"],
            "classes": ["Person", "Dog", "Cat"],
            "include_children": True,
            "max_samples": 6,
            "licences": [],
            "workers": 4,
        }
        return OpenImages(**(values | changes))  # type: ignore[arg-type]

    return make
