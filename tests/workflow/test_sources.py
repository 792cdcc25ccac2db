"""The data stages on pictures of one's own, and all stages on Open Images from a mirror."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_project import SMALL, make_project

pytestmark = pytest.mark.workflow


def test_a_folder_with_two_broken_pictures_names_both_and_cuts_the_rest(shared, tmp_path):
    source = shared / "labelled-photos"
    mine = tmp_path / "mine"
    (mine / "images").mkdir(parents=True)
    names = [path.name for path in sorted((source / "images/train").iterdir())][:24]
    for name in names:
        (mine / "images" / name).write_bytes((source / "images/train" / name).read_bytes())
    truncated, text = mine / "images" / names[3], mine / "images" / names[7]
    truncated.write_bytes(truncated.read_bytes()[:2000])
    text.write_text("not a picture")
    changes = {("dataset", "source"): "directory", ("dataset", "directory"): {"paths": [str(mine)], "labels": "none"}}
    project = make_project(tmp_path / "project", SMALL | changes)
    answer = project.run("dvc repro patches")
    output = answer.stdout + answer.stderr
    assert truncated.stem in output and text.stem in output
    report = json.loads((project.path / "data/02_curated/report.json").read_text())
    assert report["dropped"]["undecodable"] == 2
    cut = json.loads((project.path / "data/03_patches/patches.json").read_text())["splits"]
    kept = {split: report["splits"][split]["pictures"] for split in cut}
    assert cut["train"]["pictures"] > 0 and {split: facts["pictures"] for split, facts in cut.items()} == kept


@pytest.fixture
def mirror(shared, tmp_path):
    """The address of an Open Images mirror over the shared photographs."""
    port_file = tmp_path / "port"
    command = [sys.executable, str(Path(__file__).parents[1] / "mirror.py"), "--port-file", str(port_file)]
    process = subprocess.Popen([*command, "--root", str(shared / "labelled-photos"), "--reset-every", "5"])
    deadline = time.monotonic() + 30
    while not port_file.exists() or not port_file.read_text().strip():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port_file.read_text().strip()}"
    process.terminate()
    process.wait(timeout=10)


def test_open_images_through_all_stages_with_only_its_address_changed(mirror, tmp_path):
    open_images = {
        "splits": ["train", "validation"],
        "classes": ["Person", "Dog"],
        "include_children": True,
        "max_samples": 20,
        "licences": [],
        "workers": 4,
    }
    changes = {("dataset", "source"): "open-images", ("dataset", "open_images"): open_images}
    project = make_project(tmp_path / "project", SMALL | changes)
    project.environment |= {"BALLE_LI_OPEN_IMAGES_METADATA_URL": mirror, "AWS_ENDPOINT_URL_S3": mirror}
    project.run("dvc repro")
    raw = project.path / "data/01_raw"
    assert len(list((raw / "images").iterdir())) == 20
    assert "creativecommons" in (raw / "ATTRIBUTION.md").read_text()
    assert (project.path / "data/05_reports/registration.json").is_file()
    manifest = (project.path / "data/02_curated/manifest.parquet").read_bytes()
    index = (project.path / "data/03_patches/train/index.parquet").read_bytes()
    project.run("kedro run --pipelines download && kedro run --pipelines curate && kedro run --pipelines patches")
    assert (project.path / "data/02_curated/manifest.parquet").read_bytes() == manifest
    assert (project.path / "data/03_patches/train/index.parquet").read_bytes() == index

    project.run("dvc remote add -q -d storage ../storage && dvc push -q")
    project.run("rm -rf data/0* .dvc/cache && dvc pull -q")
    assert (project.path / "data/02_curated/manifest.parquet").read_bytes() == manifest
    assert len(list((raw / "images").iterdir())) == 20
