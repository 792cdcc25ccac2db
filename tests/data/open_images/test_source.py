"""Whole downloads through FiftyOne's own loader: the chosen pictures with their labels, or one clear line."""

import csv
import hashlib
import json
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock
from mirror import Fault, Mirror

from balle_li.boxes import Box
from balle_li.data.manifest import IndexRow, read_index
from balle_li.data.open_images import metadata, pictures
from balle_li.data.sources.open_images import OpenImages
from balle_li.errors import ConfigError, DatasetError
from balle_li.files import sha256_file

MakeConfig = Callable[..., OpenImages]
BUCKET = f"/{pictures.BUCKET}/"

pytestmark = pytest.mark.usefixtures("home")


def by_name(folder: Path) -> dict[str, IndexRow]:
    return {row["image_id"]: row for row in read_index(folder / "index.parquet")}


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): sha256_file(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }


def missing_of(report: Path) -> dict[str, str]:
    """The reasons in a report, by the picture's key."""
    return {item["picture"]: item["reason"] for item in json.loads(report.read_text())["missing"]}


def boxes_of(mirror: Mirror, split: str) -> dict[str, list[dict[str, str]]]:
    """The rows of a split's box table, by ImageID."""
    body = mirror.read(f"/{metadata.BOXES[split]}")
    assert body is not None
    rows = defaultdict(list)
    for row in csv.DictReader(body.decode().splitlines()):
        rows[row["ImageID"]].append(row)
    return rows


def expected_ids(mirror: Mirror, splits: list[str], mids: set[str], count: int, seed: int) -> list[str]:
    """The selection, worked out here from what the mirror serves."""
    found = [
        image_id
        for split in splits
        for image_id, rows in boxes_of(mirror, split).items()
        if mids & {row["LabelName"] for row in rows}
    ]
    return sorted(found, key=lambda image_id: hashlib.sha256(f"{seed}:{image_id}".encode()).digest())[:count]


def test_gives_exactly_the_seed_s_selection_with_all_its_boxes(
    mongo: str, mirror: Mirror, config: MakeConfig, tmp_path: Path
) -> None:
    raw = tmp_path / "raw"
    config(classes=["Dog", "Cat"], include_children=False).download(raw, 3, 0.0)
    rows = by_name(raw)
    assert sorted(rows) == sorted(expected_ids(mirror, ["validation", "test"], {"/m/0bt9lr", "/m/01yrx"}, 6, seed=3))
    for image_id, row in rows.items():
        assert row["path"] == f"images/{image_id}.jpg"
        assert (raw / row["path"]).read_bytes() == mirror.read(f"{BUCKET}{row['source_split']}/{image_id}.jpg")
        served = boxes_of(mirror, str(row["source_split"]))[image_id]
        corners = sorted(tuple(float(box[side]) for side in ("XMin", "YMin", "XMax", "YMax")) for box in served)
        found = sorted((box.xmin, box.ymin, box.xmax, box.ymax) for box in row["boxes"])
        assert len(found) == len(corners)
        assert [pytest.approx(corner, abs=1e-9) for corner in corners] == found
    assert {path.name for path in (raw / "images").iterdir()} == {f"{image_id}.jpg" for image_id in rows}
    report = json.loads((raw / "report.json").read_text())
    assert report["missing"] == [] and report["fetched"] == len(rows)
    assert (
        report["metadata"][metadata.BOXES["test"]]["sha256"]
        == hashlib.sha256(mirror.read(f"/{metadata.BOXES['test']}") or b"").hexdigest()
    )
    assert all(image_id in (raw / "ATTRIBUTION.md").read_text() for image_id in rows)


def test_keeps_who_made_a_picture_how_it_is_turned_and_what_its_boxes_say(
    mongo: str, mirror: Mirror, config: MakeConfig, tmp_path: Path
) -> None:
    some_picture = next(iter(boxes_of(mirror, "test")))
    number = "1234567890123456"  # the only picture: FiftyOne alone would read such ids as numbers and load nothing
    mirror.bodies[f"{BUCKET}test/{number}.jpg"] = mirror.read(f"{BUCKET}test/{some_picture}.jpg") or b""
    header = (
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
    )
    mirror.bodies[f"/{metadata.BOXES['test']}"] = (
        f"{header}\n{number},xclick,/m/0bt9lr,1,0.25,0.5,0.125,1,0,0,1,0,0\n"
        f"{number},activemil,/m/01yrx,1,0,0.5,0,0.5,-1,-1,-1,1,-1\n"  # -1: unknown
        f"{number},xclick,/m/01yrx,1,0.5,0.5,0,0.5,0,0,0,0,0\n"  # no area
        f"{number},xclick,/m/notaclass,1,0.5,0.7,0,0.5,0,0,0,0,0\n"
    ).encode()
    columns = "ImageID,Subset,OriginalURL,OriginalLandingURL,License,AuthorProfileURL,Author,Title"
    mirror.bodies[f"/{metadata.PICTURES['test']}"] = (
        f"{columns},OriginalSize,OriginalMD5,Thumbnail300KURL,Rotation\n"
        f'{number},test,https://o.example/1.jpg,https://l.example,https://by.example,,"Doe, J.","A ""dog""",1,m,,270.0\n'
    ).encode()
    raw = tmp_path / "raw"
    config(splits=["test"], classes=["Dog"], max_samples=1).download(raw, 0, 0.0)
    row = by_name(raw)[number]
    assert (row["source_url"], row["licence"]) == ("https://o.example/1.jpg", "https://by.example")
    assert (row["author"], row["title"], row["rotation"]) == ("Doe, J.", 'A "dog"', 270.0)
    assert row["boxes"] == [
        Box(0.0, 0.0, 0.5, 0.5, "Cat", is_group_of=False, is_depiction=True),
        Box(0.25, 0.125, 0.5, 1.0, "Dog", is_group_of=True, is_depiction=False),
    ]
    assert json.loads((raw / "report.json").read_text())["boxes_not_used"] == 2


def test_what_was_there_before_changes_nothing_and_is_not_fetched_again(
    mongo: str, mirror: Mirror, config: MakeConfig, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh, grown = tmp_path / "fresh", tmp_path / "grown"
    config().download(fresh, 0, 0.0)

    other_home = tmp_path / "other"
    other_home.mkdir()
    monkeypatch.setenv("DVC_ROOT", str(other_home))
    config(max_samples=3, workers=1).download(grown, 0, 0.0)
    config(max_samples=4).download(grown, 5, 0.0)
    before = len(mirror.requests)
    config().download(grown, 0, 0.0)
    assert contents(grown) == contents(fresh)
    later = [request.path for request in mirror.requests[before:]]
    already = {path.name for path in (other_home / ".open-images" / "pictures").rglob("*.jpg")}
    assert len(later) <= 3 and len(already) >= 6
    assert len(set(mirror.gets(BUCKET)[-len(later) :])) == len(later)


def test_what_cannot_be_had_is_left_out_and_reported_up_to_max_missing(
    mongo: str,
    mirror: Mirror,
    config: MakeConfig,
    tmp_path: Path,
    home: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    gone, cut, page = expected_ids(mirror, ["validation"], {"/m/01g317"}, 3, 0)
    first = {name: f"{BUCKET}validation/{name}.jpg" for name in (gone, cut, page)}
    mirror.faults[first[gone]] = Fault(status=404)
    mirror.bodies[first[cut]] = (mirror.read(first[cut]) or b"")[:5000]
    mirror.bodies[first[page]] = b"<html>Log in</html>"
    people = config(splits=["validation"], classes=["Person"], include_children=False)
    raw = tmp_path / "raw"

    with pytest.raises(DatasetError, match="3 of 6 Open Images pictures are unavailable") as failure:
        people.download(raw, 0, 0.49)
    report = home / ".open-images" / "report.json"
    assert str(report) in str(failure.value) and "\n" not in str(failure.value)
    assert set(missing_of(report)) == {f"validation/{name}.jpg" for name in first}
    assert not (raw / "index.parquet").exists()

    before = len(mirror.requests)
    people.download(raw, 0, 0.5)
    assert {request.path for request in mirror.requests[before:]} == set(first.values())  # the others were whole
    chosen = expected_ids(mirror, ["validation"], {"/m/01g317"}, 6, 0)
    assert sorted(by_name(raw)) == sorted(set(chosen) - set(first))
    missing = missing_of(raw / "report.json")
    assert "404" in missing[f"validation/{gone}.jpg"]
    assert "truncated" in missing[f"validation/{cut}.jpg"]
    assert "no JPEG" in missing[f"validation/{page}.jpg"]
    assert "3 of 6 Open Images pictures are unavailable" in capfd.readouterr().err


def test_asking_for_more_than_there_is_takes_all_and_says_so(
    mongo: str, mirror: Mirror, config: MakeConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config(splits=["test"], classes=["Cat"], max_samples=1000).download(tmp_path / "raw", 0, 0.0)
    cats = expected_ids(mirror, ["test"], {"/m/01yrx"}, 1000, 0)
    assert sorted(by_name(tmp_path / "raw")) == sorted(cats)
    assert f"Open Images has {len(cats)} pictures in test with a box of Cat: taking all" in capfd.readouterr().err


def test_nothing_to_choose_from_is_an_error(mirror: Mirror, config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"no picture in test with a box of Cat and the licence https://none\.example"
    ):
        config(splits=["test"], classes=["Cat"], licences=["https://none.example"]).download(tmp_path / "raw", 0, 0.0)


def test_an_unknown_class_is_an_error_before_any_picture_is_fetched(
    mirror: Mirror, config: MakeConfig, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="did you mean 'Dog'"):
        config(classes=["dog"]).download(tmp_path / "raw", 0, 0.0)
    assert mirror.gets(BUCKET) == []


def test_two_downloads_at_once_take_turns(
    mirror: Mirror, config: MakeConfig, tmp_path: Path, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (home / ".open-images").mkdir()
    with ThreadPoolExecutor(1) as executor:
        with FileLock(home / ".open-images" / "lock"):
            second = executor.submit(config(classes=["dog"]).download, tmp_path / "raw", 0, 0.0)
            with pytest.raises(TimeoutError):
                second.result(timeout=0.3)
            assert mirror.requests == []
        with pytest.raises(ConfigError):
            second.result(timeout=60)
    assert "another process is downloading Open Images" in capfd.readouterr().err


def test_a_bad_network_gives_the_same_data(
    mongo: str, mirror: Mirror, config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config().download(tmp_path / "good", 0, 0.0)
    other_home = tmp_path / "other"
    other_home.mkdir()
    monkeypatch.setenv("DVC_ROOT", str(other_home))
    mirror.reset_every = 3
    mirror.faults[f"/{metadata.BOXES['test']}"] = Fault(cut_after=4000)
    config().download(tmp_path / "bad", 0, 0.0)
    assert contents(tmp_path / "bad") == contents(tmp_path / "good")


def test_a_killed_download_goes_on_where_it_was(
    mongo: str, mirror: Mirror, config: MakeConfig, tmp_path: Path, home: Path
) -> None:
    mirror.seconds = 0.2
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from balle_li.data.sources.open_images import OpenImages\n"
        "config = OpenImages(['validation', 'test'], ['Person', 'Dog', 'Cat'], True, 12, [], 2)\n"
        "config.download(Path(sys.argv[1]), 0, 0.0)\n"
    )
    raw, fetched = tmp_path / "raw", home / ".open-images" / "pictures"
    process = subprocess.Popen([sys.executable, "-c", program, str(raw)])
    try:
        deadline = time.monotonic() + 60
        while len(list(fetched.rglob("[!.]*.jpg"))) < 4:
            assert process.poll() is None and time.monotonic() < deadline, "the download ended before it was killed"
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    whole = {path.name for path in fetched.rglob("[!.]*.jpg")}
    assert 4 <= len(whole) < 12

    mirror.seconds = 0.0
    before = len(mirror.requests)
    config(max_samples=12).download(raw, 0, 0.0)
    assert {request.path.rsplit("/", 1)[-1] for request in mirror.requests[before:]}.isdisjoint(whole)
    assert all(request.path.startswith(BUCKET) for request in mirror.requests[before:])  # no metadata either
    assert len(by_name(raw)) == 12
