"""Metadata files: whole and verified, or one clear line; never fetched twice."""

import hashlib
import json
from pathlib import Path

import pytest
import urllib3
from mirror import Fault, Mirror

from balle_li.data.open_images import metadata
from balle_li.errors import DatasetError

PATH = metadata.BOXES["test"]
BIG = bytes(range(256)) * 20_000  # five mebibytes


def test_stages_the_file_and_records_its_sha256(mirror: Mirror, tmp_path: Path) -> None:
    file = metadata.stage(PATH, tmp_path)
    served = mirror.read(f"/{PATH}")
    assert served is not None
    assert file.path.read_bytes() == served
    assert (file.bytes, file.sha256) == (len(served), hashlib.sha256(served).hexdigest())
    assert json.loads(file.path.with_name(f"{file.path.name}.json").read_text())["sha256"] == file.sha256


def test_second_run_asks_the_server_nothing(mirror: Mirror, tmp_path: Path) -> None:
    first = metadata.stage(PATH, tmp_path)
    asked = len(mirror.requests)
    assert metadata.stage(PATH, tmp_path) == first
    assert len(mirror.requests) == asked


def test_damage_on_disk_is_noticed(mirror: Mirror, tmp_path: Path) -> None:
    file = metadata.stage(PATH, tmp_path)
    whole = file.path.read_bytes()
    file.path.write_bytes(whole.replace(b"0", b"1", 1))
    metadata.stage(PATH, tmp_path)
    assert file.path.read_bytes() == whole


def test_another_mirror_s_file_is_fetched(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata.stage(PATH, tmp_path)
    with Mirror(None) as other:
        other.bodies[f"/{PATH}"] = b"another mirror's"
        monkeypatch.setenv(metadata.HOST_SETTING, other.url + "/")
        assert metadata.stage(PATH, tmp_path).path.read_bytes() == other.bodies[f"/{PATH}"]


def test_cut_connections_are_resumed_where_they_ended(empty_mirror: Mirror, tmp_path: Path) -> None:
    empty_mirror.bodies["/big"] = BIG
    # More cuts than there are attempts: each brought something, so that none counts.
    empty_mirror.faults["/big"] = Fault(cut_after=300_000)
    assert metadata.stage("big", tmp_path).path.read_bytes() == BIG
    starts = [int((request.range or "bytes=0-")[6:-1]) for request in empty_mirror.requests if request.method == "GET"]
    assert starts == list(range(0, len(BIG), 300_000))


def test_a_later_run_goes_on_with_the_part(
    empty_mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_mirror.bodies["/big"] = BIG
    empty_mirror.faults["/big"] = Fault(cut_after=2_000_000, times=2)  # its HEAD and its first GET
    with monkeypatch.context() as once:
        once.setattr(metadata, "RETRY", urllib3.Retry(total=0))
        with pytest.raises(DatasetError, match=r"2000000 bytes read, 3120000 more expected\)\); what came is kept"):
            metadata.stage("big", tmp_path)
    assert not (tmp_path / "big").exists()
    assert metadata.stage("big", tmp_path).path.read_bytes() == BIG
    assert [request.range for request in empty_mirror.requests if request.method == "GET"] == [None, "bytes=2000000-"]


def test_a_part_of_another_version_is_not_continued(
    empty_mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_mirror.bodies["/big"] = BIG
    empty_mirror.faults["/big"] = Fault(cut_after=2_000_000, times=2)
    with monkeypatch.context() as once:
        once.setattr(metadata, "RETRY", urllib3.Retry(total=0))
        with pytest.raises(DatasetError):
            metadata.stage("big", tmp_path)
    empty_mirror.bodies["/big"] = BIG[::-1]
    assert metadata.stage("big", tmp_path).path.read_bytes() == BIG[::-1]


def test_a_file_that_changes_while_it_is_fetched_is_not_mixed(
    empty_mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_mirror.faults["/big"] = Fault(cut_after=2_000_000, times=2)  # its HEAD and its first GET
    versions = iter([BIG, BIG])
    monkeypatch.setattr(empty_mirror, "read", lambda path: next(versions, BIG[::-1]))
    assert metadata.stage("big", tmp_path).path.read_bytes() == BIG[::-1]


def test_survives_a_server_that_resets_every_third_connection(mirror: Mirror, tmp_path: Path) -> None:
    mirror.reset_every = 3
    for split, path in metadata.BOXES.items():
        body = mirror.read(f"/{path}")
        assert metadata.stage(path, tmp_path / split).path.read_bytes() == body


@pytest.mark.parametrize(("status", "message"), [(404, "answered 404"), (503, "too many 503 error responses")])
def test_a_server_that_refuses_gives_one_clear_line(mirror: Mirror, tmp_path: Path, status: int, message: str) -> None:
    mirror.faults[f"/{PATH}"] = Fault(status=status)
    with pytest.raises(DatasetError, match=message) as failure:
        metadata.stage(PATH, tmp_path)
    assert "\n" not in str(failure.value)
    assert len(mirror.requests) == (1 if status == 404 else 7)


def test_a_passing_error_is_waited_out(mirror: Mirror, tmp_path: Path) -> None:
    mirror.faults[f"/{PATH}"] = Fault(status=503, times=3)
    assert metadata.stage(PATH, tmp_path).bytes > 0


def test_a_server_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(metadata.HOST_SETTING, "http://127.0.0.1:1")
    with pytest.raises(DatasetError, match=r"cannot be fetched \(Connection refused\)"):
        metadata.stage(PATH, tmp_path)
    monkeypatch.setenv(metadata.HOST_SETTING, "mirror.example")
    with pytest.raises(DatasetError, match="is not a URL"):
        metadata.stage(PATH, tmp_path)
