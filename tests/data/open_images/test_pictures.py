"""Pictures: decoded before they count, each failure with its reason, nothing fetched twice."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from mirror import Fault, Mirror
from PIL import Image

from balle_li.data.open_images import pictures
from balle_li.errors import DatasetError

BUCKET = f"/{pictures.BUCKET}/"


def jpeg(value: int) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((96, 64), value).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def keys(empty_mirror: Mirror) -> list[str]:
    """Twelve pictures on the mirror."""
    keys = [f"train/{i:016x}.jpg" for i in range(12)]
    empty_mirror.bodies.update({BUCKET + key: jpeg(i + 10) for i, key in enumerate(keys)})
    return keys


def on_disk(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_fetches_each_picture_once(empty_mirror: Mirror, keys: list[str], tmp_path: Path) -> None:
    assert pictures.fetch(keys, tmp_path, 3) == {}
    assert all((tmp_path / key).read_bytes() == empty_mirror.bodies[BUCKET + key] for key in keys)
    assert pictures.fetch(keys, tmp_path, 3) == {}
    assert sorted(empty_mirror.gets(BUCKET)) == [BUCKET + key for key in keys]


def test_more_pictures_fetch_only_the_difference(empty_mirror: Mirror, keys: list[str], tmp_path: Path) -> None:
    pictures.fetch(keys[:5], tmp_path, 3)
    pictures.fetch(keys, tmp_path, 3)
    assert sorted(empty_mirror.gets(BUCKET)) == [BUCKET + key for key in keys]


@pytest.mark.parametrize(
    ("spoil", "reason", "requests"),
    [
        (lambda mirror, path: mirror.faults.update({path: Fault(status=404)}), "answered 404", 1),
        (lambda mirror, path: mirror.faults.update({path: Fault(status=403)}), "answered 403", 1),
        (
            lambda mirror, path: mirror.faults.update({path: Fault(status=503)}),
            "answered 503",
            pictures.REQUEST_ATTEMPTS,
        ),
        (lambda mirror, path: mirror.faults.update({path: Fault(cut_after=500)}), "", pictures.BODY_ATTEMPTS),
        (
            lambda mirror, path: mirror.bodies.update({path: mirror.bodies[path][:-300]}),
            "truncated",
            pictures.BODY_ATTEMPTS,
        ),
        (
            lambda mirror, path: mirror.bodies.update({path: b"<html>Log in</html>"}),
            "no JPEG picture",
            pictures.BODY_ATTEMPTS,
        ),
        (
            lambda mirror, path: mirror.bodies.update({path: b""}),
            "0 bytes that cannot be decoded",
            pictures.BODY_ATTEMPTS,
        ),
    ],
)
def test_a_bad_picture_is_reported_with_its_reason_and_the_others_are_kept(
    empty_mirror: Mirror,
    keys: list[str],
    tmp_path: Path,
    spoil: Callable[[Mirror, str], None],
    reason: str,
    requests: int,
) -> None:
    bad = keys[4]
    good = empty_mirror.bodies[BUCKET + bad]
    spoil(empty_mirror, BUCKET + bad)
    failures = pictures.fetch(keys, tmp_path, 3)
    assert list(failures) == [bad] and reason in failures[bad] and "\n" not in failures[bad]
    assert on_disk(tmp_path) == set(keys) - {bad}
    assert empty_mirror.gets(BUCKET + bad) == [BUCKET + bad] * requests

    empty_mirror.faults.clear()
    empty_mirror.bodies[BUCKET + bad] = good
    before = len(empty_mirror.requests)
    assert pictures.fetch(keys, tmp_path, 3) == {}
    assert empty_mirror.gets(BUCKET)[before:] == [BUCKET + bad]


@pytest.mark.parametrize(
    "fault", [Fault(status=503, times=3), Fault(cut_after=500, times=3), Fault(cut_after=0, times=3)]
)
def test_passing_faults_are_waited_out(empty_mirror: Mirror, keys: list[str], tmp_path: Path, fault: Fault) -> None:
    empty_mirror.faults.update({BUCKET + key: fault for key in keys[::3]})
    assert pictures.fetch(keys, tmp_path, 4) == {}
    assert on_disk(tmp_path) == set(keys)


def test_survives_a_server_that_resets_every_third_connection(
    empty_mirror: Mirror, keys: list[str], tmp_path: Path
) -> None:
    empty_mirror.reset_every = 3
    assert pictures.fetch(keys, tmp_path, 4) == {}
    assert all((tmp_path / key).read_bytes() == empty_mirror.bodies[BUCKET + key] for key in keys)
    assert len(empty_mirror.requests) > len(keys)  # some were reset, or this proves nothing


def test_a_network_that_is_gone_ends_the_fetch_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(pictures.MIRROR_SETTING, "http://127.0.0.1:1")
    with pytest.raises(DatasetError, match=r"cannot be reached .*; what came is kept") as failure:
        pictures.fetch([f"train/{i}.jpg" for i in range(1000)], tmp_path, 4)
    assert "\n" not in str(failure.value) and len(str(failure.value)) < 160 and "refused" in str(failure.value)


def test_what_a_killed_process_left_is_removed_and_does_not_count(
    empty_mirror: Mirror, keys: list[str], tmp_path: Path
) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / f".{Path(keys[0]).name}.0123abcd.part").write_bytes(b"half")
    (tmp_path / keys[1]).write_bytes(b"")
    assert pictures.fetch(keys, tmp_path, 3) == {}
    assert on_disk(tmp_path) == set(keys)
    assert (tmp_path / keys[1]).read_bytes() == empty_mirror.bodies[BUCKET + keys[1]]
