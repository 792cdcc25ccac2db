"""Metadata files: whole and verified, or one clear line; never fetched twice."""

import hashlib
import json
import threading
from pathlib import Path

import pytest
from mirror import Fault, Mirror

from balle_li.datasets.open_images import endpoints, metadata
from balle_li.datasets.open_images.retries import Patience
from balle_li.datasets.open_images.tables import BOX_COLUMNS
from balle_li.errors import DatasetError

PATH = endpoints.BOXES["test"]
BIG = bytes(range(256)) * 20_000  # five mebibytes


def test_stages_the_file_and_records_its_sha256(mirror: Mirror, tmp_path: Path) -> None:
    file = metadata.stage(PATH, tmp_path, BOX_COLUMNS)
    served = mirror.read(f"/{PATH}")
    assert served is not None
    assert file.path.read_bytes() == served
    assert (file.bytes, file.sha256) == (len(served), hashlib.sha256(served).hexdigest())
    assert json.loads(file.path.with_name(f"{file.path.name}.json").read_text())["sha256"] == file.sha256


def test_second_run_asks_the_server_nothing(mirror: Mirror, tmp_path: Path) -> None:
    first = metadata.stage(PATH, tmp_path, BOX_COLUMNS)
    asked = len(mirror.requests)
    assert metadata.stage(PATH, tmp_path, BOX_COLUMNS) == first
    assert len(mirror.requests) == asked


def test_damage_on_disk_is_noticed(mirror: Mirror, tmp_path: Path) -> None:
    file = metadata.stage(PATH, tmp_path, BOX_COLUMNS)
    whole = file.path.read_bytes()
    file.path.write_bytes(whole.replace(b"0", b"1", 1))
    metadata.stage(PATH, tmp_path, BOX_COLUMNS)
    assert file.path.read_bytes() == whole


def test_another_mirror_s_file_is_fetched(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata.stage(PATH, tmp_path, BOX_COLUMNS)
    with Mirror(None) as other:
        other.bodies[f"/{PATH}"] = ",".join(BOX_COLUMNS).encode() + b"\n"
        monkeypatch.setenv(endpoints.METADATA_SETTING, other.url + "/")
        assert metadata.stage(PATH, tmp_path, BOX_COLUMNS).path.read_bytes() == other.bodies[f"/{PATH}"]


def test_cut_connections_are_resumed_where_they_ended(
    empty_mirror: Mirror, tmp_path: Path, impatient: Patience
) -> None:
    empty_mirror.bodies["/big"] = BIG
    # More cuts than patience has attempts: each brought something, so that none counts.
    empty_mirror.faults["/big"] = Fault(cut_after=300_000)
    assert metadata.stage("big", tmp_path, patience=impatient).path.read_bytes() == BIG
    starts = [int((request.range or "bytes=0-")[6:-1]) for request in empty_mirror.requests if request.method == "GET"]
    assert starts == list(range(0, len(BIG), 300_000))


def test_a_later_run_goes_on_with_the_part(empty_mirror: Mirror, tmp_path: Path, impatient: Patience) -> None:
    empty_mirror.bodies["/big"] = BIG
    empty_mirror.faults["/big"] = Fault(cut_after=2_000_000, times=2)  # its HEAD and its first GET
    with pytest.raises(DatasetError, match=r"ended after 2000000 of 5120000 bytes\); what came is kept"):
        metadata.stage("big", tmp_path, patience=Patience(attempts=1))
    assert not (tmp_path / "big").exists()
    assert metadata.stage("big", tmp_path, patience=impatient).path.read_bytes() == BIG
    assert [request.range for request in empty_mirror.requests if request.method == "GET"] == [None, "bytes=2000000-"]


def test_a_part_of_another_version_is_not_continued(empty_mirror: Mirror, tmp_path: Path, impatient: Patience) -> None:
    empty_mirror.bodies["/big"] = BIG
    empty_mirror.faults["/big"] = Fault(cut_after=2_000_000, times=2)
    with pytest.raises(DatasetError):
        metadata.stage("big", tmp_path, patience=Patience(attempts=1))
    empty_mirror.bodies["/big"] = BIG[::-1]
    assert metadata.stage("big", tmp_path, patience=impatient).path.read_bytes() == BIG[::-1]


def test_survives_a_server_that_resets_every_third_connection(
    mirror: Mirror, tmp_path: Path, impatient: Patience
) -> None:
    mirror.reset_every = 3
    for split, path in endpoints.BOXES.items():
        body = mirror.read(f"/{path}")
        assert metadata.stage(path, tmp_path / split, BOX_COLUMNS, impatient).path.read_bytes() == body


def test_a_csv_that_the_server_itself_cut_is_refused_again_and_again(mirror: Mirror, tmp_path: Path) -> None:
    whole = mirror.read(f"/{PATH}")
    assert whole is not None
    mirror.bodies[f"/{PATH}"] = whole[: whole.rindex(b",")]
    for _ in range(2):
        with pytest.raises(DatasetError, match="is cut midway through a row on the server"):
            metadata.stage(PATH, tmp_path, BOX_COLUMNS)
    del mirror.bodies[f"/{PATH}"]
    assert metadata.stage(PATH, tmp_path, BOX_COLUMNS).path.read_bytes() == whole


def test_a_web_page_in_place_of_the_csv_is_refused(mirror: Mirror, tmp_path: Path) -> None:
    mirror.bodies[f"/{PATH}"] = b"<html><body>Please log in</body></html>"
    with pytest.raises(DatasetError, match="something else than the expected CSV file"):
        metadata.stage(PATH, tmp_path, BOX_COLUMNS)
    assert not (tmp_path / PATH).exists()


@pytest.mark.parametrize(("status", "message"), [(404, "answered 404"), (503, "the server answered 503")])
def test_a_server_that_refuses_gives_one_clear_line(
    mirror: Mirror, tmp_path: Path, impatient: Patience, status: int, message: str
) -> None:
    mirror.faults[f"/{PATH}"] = Fault(status=status)
    with pytest.raises(DatasetError, match=message) as failure:
        metadata.stage(PATH, tmp_path, BOX_COLUMNS, impatient)
    assert "\n" not in str(failure.value)
    assert len(mirror.requests) == (1 if status == 404 else impatient.attempts)


def test_a_passing_error_is_waited_out(mirror: Mirror, tmp_path: Path, impatient: Patience) -> None:
    mirror.faults[f"/{PATH}"] = Fault(status=503, times=3)
    assert metadata.stage(PATH, tmp_path, BOX_COLUMNS, impatient).bytes > 0


def test_a_server_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, impatient: Patience) -> None:
    monkeypatch.setenv(endpoints.METADATA_SETTING, "http://127.0.0.1:1")
    with pytest.raises(DatasetError, match=r"cannot be fetched \(Connection refused\)"):
        metadata.stage(PATH, tmp_path, BOX_COLUMNS, impatient)
    monkeypatch.setenv(endpoints.METADATA_SETTING, "mirror.example")
    with pytest.raises(DatasetError, match="is not a URL"):
        metadata.stage(PATH, tmp_path, BOX_COLUMNS, impatient)


def test_patience_ends_at_once_when_stopped() -> None:
    stop = threading.Event()
    stop.set()
    Patience(first_seconds=60.0, longest_seconds=60.0).wait(1, stop)
