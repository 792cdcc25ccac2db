import pytest
from kedro.io import DatasetError

from pipelines.folder import Folder


def test_the_folder_is_filled_as_a_whole(tmp_path):
    folder = Folder(str(tmp_path / "a" / "out"))
    assert not folder.exists()
    folder.save(lambda part: (part / "x").write_text("1") and None)
    assert (folder.load() / "x").read_text() == "1"
    folder.save(lambda part: (part / "y").write_text("2") and None)
    assert [path.name for path in folder.load().iterdir()] == ["y"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["out"]


def test_a_failure_keeps_what_was_there(tmp_path):
    folder = Folder(str(tmp_path / "out"))
    folder.save(lambda part: (part / "x").write_text("1") and None)

    def fail(part):
        (part / "x").write_text("half")
        raise ValueError("no")

    with pytest.raises(DatasetError) as caught:
        folder.save(fail)
    assert isinstance(caught.value.__cause__, ValueError)
    assert (tmp_path / "out" / "x").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_linked_file_is_replaced_not_written_to(tmp_path):
    cache = tmp_path / "cache"
    cache.write_text("versioned")
    out = tmp_path / "out"
    out.mkdir()
    (out / "x").hardlink_to(cache)
    Folder(str(out)).save(lambda part: (part / "x").write_text("new") and None)
    assert cache.read_text() == "versioned"
    assert (out / "x").read_text() == "new"


def test_a_missing_folder_says_so(tmp_path):
    with pytest.raises(DatasetError, match="does not exist"):
        Folder(str(tmp_path / "none")).load()
