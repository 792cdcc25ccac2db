import errno
import os
import zlib

import pytest

from balle_li import files
from balle_li.errors import BalleLiError, BitstreamError, ConfigError
from balle_li.files import files_below, inflate, named_path, printable, write_bytes


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), files.atomic_path(target) as part:
        part.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_one_line(tmp_path):
    with pytest.raises(BalleLiError, match="the disk is full; free some space"), files.atomic_path(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_equal_values_give_equal_json(tmp_path):
    files.write_json(tmp_path / "a", {"b": 1, "a": [1.5, "é"]})
    files.write_json(tmp_path / "b", {"a": [1.5, "é"], "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert files.read_json(tmp_path / "a") == {"a": [1.5, "é"], "b": 1}


@pytest.mark.parametrize("text", ["{", "[" * 100_000])
def test_broken_json_is_named(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(BalleLiError, match=r"a\.json is not valid JSON"):
        files.read_json(tmp_path / "a.json")
    with pytest.raises(BalleLiError, match="does not exist"):
        files.read_json(tmp_path / "b.json")


def test_home_is_the_checkout_also_in_a_temporary_workspace_of_dvc(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert files.project_home() == tmp_path.resolve()
    monkeypatch.setenv("DVC_ROOT", "/somewhere")
    assert str(files.project_home()) == "/somewhere"


def test_a_home_of_nobody_is_one_line():
    with pytest.raises(ConfigError, match="~nobody-of-this-name/x: this machine knows no home of that user"):
        named_path("~nobody-of-this-name/x")


def test_hash_fraction_is_uniform_and_depends_on_both_arguments():
    values = [files.hash_fraction(0, str(i)) for i in range(2000)]
    assert all(0 <= value < 1 for value in values)
    assert 0.45 < sum(values) / len(values) < 0.55
    assert files.hash_fraction(0, "1") == values[1] != files.hash_fraction(1, "1")


def test_the_project_is_found_from_anywhere_in_it(tmp_path, monkeypatch):
    monkeypatch.delenv("DVC_ROOT", raising=False)
    inner = tmp_path / "project" / "pipelines" / "train"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert files.project_home() == files.workspace() == inner
    (tmp_path / "project" / "pyproject.toml").write_text("[tool.kedro]\n")
    (inner / "pyproject.toml").write_text("[tool.other]\n")
    assert files.project_home() == files.workspace() == tmp_path / "project"
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert files.project_home() == tmp_path
    assert files.workspace() == tmp_path / "project"


def test_inflating_stops_at_the_limit():
    assert inflate(zlib.compress(bytes(100)), 100) == bytes(100)
    with pytest.raises(BitstreamError):
        inflate(zlib.compress(bytes(2**28)), 100)


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path):
    path = tmp_path / ("x" * 255)
    write_bytes(path, b"1")
    assert path.read_bytes() == b"1" and len(list(tmp_path.iterdir())) == 1


def test_any_name_can_be_printed_in_one_line():
    assert printable(os.fsdecode(b"caf\xe9.jpg")) == "caf\\xe9.jpg"
    assert printable("café 猫.jpg") == "café 猫.jpg"
    assert printable("two\nlines\x1b[2J.jpg") == "two\\nlines\\x1b[2J.jpg"


def test_a_walk_follows_links_and_visits_each_folder_once(tmp_path):
    for name in ("in/a/one", "in/b/two", "in/hidden/three", "out/four", "skipped/five"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    for link, target in {"a/up": "in", "z": "out", "y": "out", "skip": "skipped", "b/broken": "nowhere"}.items():
        (tmp_path / "in" / link).symlink_to(tmp_path / target)
    refused = []
    found = files_below(tmp_path / "in", lambda name: name != "hidden", refused.append, skip=tmp_path / "skipped")
    assert {str(path.relative_to(tmp_path / "in")) for path in found} == {"a/one", "b/two", "b/broken", "y/four"}
    assert list(files_below(tmp_path / "gone", bool, refused.append)) == []
    assert [error.filename for error in refused] == [str(tmp_path / "gone")]
