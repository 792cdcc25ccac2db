"""The users' own folders: whoever adds, changes or removes a picture need not tell DVC."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from labelled_folders import YOLO_ROW, coco, open_images_tree, picture, text, voc
from small_project import ROOT

from balle_li.files import read_json
from balle_li.inputs import contents, labels_elsewhere, main


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with folders of its own: `photos` to train on, `extra` to measure on."""
    for name in ("photos/below", "extra"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "photos/below/one.jpg").write_bytes(b"one")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    parameters = yaml.safe_load((ROOT / "params.yaml").read_text())
    parameters["dataset"] |= {"source": "directory", "directory": {"paths": ["photos"], "labels": "auto"}}
    parameters["evaluate"]["extra_sets"] = {"mine": "extra"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(parameters))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


def set_parameter(section: str, name: str, value: object) -> None:
    parameters = yaml.safe_load(Path("params.yaml").read_text())
    parameters[section][name] = value
    Path("params.yaml").write_text(yaml.safe_dump(parameters))


def recorded() -> tuple[object, object]:
    main()
    return tuple(read_json(f"data/00_inputs/{name}.json") for name in ("pictures", "extra_sets"))


def test_a_changed_folder_changes_its_own_record_alone(project):
    pictures, extra = recorded()
    assert recorded() == (pictures, extra)
    (project / "photos/two.jpg").write_bytes(b"two")
    more, same = recorded()
    assert more != pictures and same == extra
    (project / "extra/three.png").write_bytes(b"three")
    assert recorded()[0] == more and recorded()[1] != extra


def test_a_changed_or_removed_file_is_noticed(project):
    before = contents(project / "photos")
    os.utime(project / "photos/below/one.jpg", ns=(1, 1))
    touched = contents(project / "photos")
    (project / "photos/below/one.jpg").unlink()
    assert before != touched and contents(project / "photos") == []


def test_a_changed_file_in_a_linked_folder_is_noticed(project):
    elsewhere = project / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "two.jpg").write_bytes(b"two")
    (project / "photos/link").symlink_to(elsewhere, target_is_directory=True)
    (project / "photos/three.jpg").symlink_to(elsewhere / "two.jpg")
    (project / "photos/broken.jpg").symlink_to("nowhere")
    before = contents(project / "photos")
    os.utime(elsewhere / "two.jpg", ns=(1, 1))
    changed = [name for name, was in files_of(before).items() if files_of(contents(project / "photos"))[name] != was]
    assert len(before) == 4 and changed == ["link/two.jpg", "three.jpg"]


@pytest.mark.parametrize("kind", ["auto", "coco"])
def test_changed_labels_beside_the_folder_are_noticed(project, kind):
    set_parameter("dataset", "directory", {"paths": ["photos"], "labels": kind})
    before = recorded()[0]
    labels = text(project / "annotations/instances.json", coco(["below/one.jpg"]))
    added = recorded()[0]
    text(project / "annotations/notes.txt", "no labels")
    assert before != added and recorded()[0] == added
    os.utime(labels, ns=(1, 1))
    assert recorded()[0] != added
    assert [name for name in files_of(added["photos"]) if ".." in name] == ["../annotations/instances.json"]


@pytest.mark.parametrize(
    ("pictures", "files"),
    [
        ("set/images/train", {"set/labels/train/one.txt": YOLO_ROW, "set/classes.txt": "Dog\nCat\n"}),
        ("set/JPEGImages", {"set/Annotations/one.xml": voc("one.jpg")}),
    ],
)
def test_every_format_says_what_it_reads(tmp_path, pictures, files):
    picture(tmp_path / pictures / "one.jpg")
    for name, content in files.items():
        text(tmp_path / name, content)
    found = files_of(labels_elsewhere(tmp_path / pictures, "auto"))
    assert {os.path.normpath(Path(pictures) / name) for name in found} == set(files)
    assert labels_elsewhere(tmp_path / pictures, "none") == labels_elsewhere(tmp_path / "nowhere", "auto") == []


def test_open_images_says_what_it_reads(tmp_path):
    open_images_tree(tmp_path, "0000000000000001", "")
    found = files_of(labels_elsewhere(tmp_path / "data", "auto"))
    assert set(found) == {"../labels/detections.csv", "../metadata/classes.csv", "../metadata/image_ids.csv"}


def files_of(found: list[list[object]]) -> dict[str, list[object]]:
    """Size and time of change by path."""
    return {bytes.fromhex(name).decode(): rest for name, *rest in found}


def test_a_folder_that_is_not_there_is_left_to_the_stage_that_reads_it(project):
    shutil.rmtree(project / "photos")
    assert recorded()[0] == {"photos": None}


def test_names_that_are_no_unicode(project):
    (project / "photos" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"")
    assert len(contents(project / "photos")) == 2


def test_other_sources_have_no_folders(project):
    set_parameter("dataset", "source", "sample")
    assert recorded()[0] == {}


def start_from(place: str | None) -> object:
    """What is recorded where the training starts from `place`."""
    set_parameter("train", "init_from", place)
    main()
    return read_json("data/00_inputs/init_from.json")


@pytest.mark.parametrize("place", ["first", "first/model.safetensors"])
def test_changed_weights_to_start_from_are_noticed(project, place):
    weights = project / "first/model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"one")
    before = start_from(place)
    weights.write_bytes(b"another")
    assert before != start_from(place) and list(before) == [place]


@pytest.mark.parametrize("place", [None, "zoo", "released", "models:/balle-li@champion"])
def test_weights_that_are_in_no_folder_of_ones_own_need_no_record(project, place):
    assert start_from(place) == {}


def test_dvc_trains_again_from_changed_weights():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    record = "data/00_inputs/init_from.json"
    assert record in stages["inputs"]["outs"] and record in stages["train"]["deps"]
    assert "train.init_from" in stages["inputs"]["params"]


@pytest.mark.parametrize(
    ("text", "message"), [("lmbda: 1\n", "params.yaml: "), ("a: [", "params.yaml is not valid YAML")]
)
def test_wrong_parameters_are_one_line(project, text, message):
    (project / "params.yaml").write_text(text)
    done = subprocess.run([sys.executable, "-m", "balle_li.inputs"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith(f"Error: {message}") and done.stderr.count("\n") == 1
