"""A mirror of the shared photographs, a project folder of its own, and a network patience that fits tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mirror import Mirror

from balle_li.datasets.open_images import endpoints
from balle_li.datasets.open_images.retries import Patience
from balle_li.datasets.sources import OpenImagesConfig


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's home, in which the cache of what was fetched lies."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("DVC_ROOT", str(folder))
    return folder


def _pointed_to(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(endpoints.METADATA_SETTING, mirror.url)
    monkeypatch.setenv(endpoints.PICTURES_SETTING, mirror.url)


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


@pytest.fixture
def impatient() -> Patience:
    """As many attempts as for users, without the waits."""
    return Patience(attempts=7, first_seconds=0.0, longest_seconds=0.0)


@pytest.fixture
def impatiently(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for whole downloads."""
    monkeypatch.setattr(Patience, "wait", lambda *_: None)


@pytest.fixture
def config() -> Callable[..., OpenImagesConfig]:
    """Make a selection, by default of six pictures."""

    def make(**changes: object) -> OpenImagesConfig:
        values = {
            "splits": ["validation", "test"],
            "classes": ["Person", "Dog", "Cat"],
            "include_children": True,
            "max_samples": 6,
            "licences": [],
            "workers": 4,
        }
        return OpenImagesConfig(**(values | changes))  # type: ignore[arg-type]

    return make
