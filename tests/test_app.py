"""The App's command, and a whole evaluation on its way into the curated dataset."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_model import tiny_model_folder

from balle_li.app import add_evaluation, add_runs, main
from balle_li.boxes import Box
from balle_li.codec.codec import Codec
from balle_li.comparison.curves import bd_rate
from balle_li.config import RegisterConfig
from balle_li.data.fiftyone_view import open_curated
from balle_li.data.manifest import read_manifest, write_dropped, write_index, write_manifest
from balle_li.errors import StageError
from balle_li.evaluation import test_set
from balle_li.evaluation.measurements import (
    CLASSICAL,
    HEADLINE,
    Reference,
    mark_compared,
    measure_decoded,
    to_frame,
    write_measurements,
)
from balle_li.files import sha256_file, write_json
from balle_li.image_io import read_picture
from balle_li.tracking import registry, run


def test_without_a_manifest_it_names_the_command_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port", "0", "--raw", str(tmp_path), "--curated", str(tmp_path)]) == 1
    assert "kedro run --pipeline curate" in capsys.readouterr().err


def test_a_taken_port_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["--port", str(port), "--raw", str(tmp_path), "--curated", str(tmp_path)]) == 1
    assert f"port {port} is taken" in capsys.readouterr().err


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """raw, curated and model folders: two test pictures, one to be turned by 90 degrees, and one of the train split."""
    for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool.kedro]\n")
    (tmp_path / "raw").mkdir()
    rows = []
    for seed, (name, split) in enumerate({"plain": "test", "turned": "test", "other": "train"}.items()):
        path, turned = tmp_path / "raw" / f"{name}.png", name == "turned"
        coarse = np.random.default_rng(seed).integers(0, 255, (6, 9, 3), np.uint8)
        Image.fromarray(coarse).resize((88, 64), Image.Resampling.BICUBIC).save(path)
        rows.append({
            "image_id": name, "path": path.name, "rotation": 90.0 if turned else 0.0,
            "width": 64 if turned else 88, "height": 88 if turned else 64, "split": split,
            "boxes": [Box(0.2, 0.2, 0.7, 0.9, "Cat")] if name == "plain" else [], "sha256": sha256_file(path),
        })  # fmt: skip
    write_manifest(tmp_path / "curated" / "manifest.parquet", rows)
    write_dropped(tmp_path / "curated" / "dropped.parquet", [])
    columns = ("image_id", "path", "rotation", "boxes")
    write_index(tmp_path / "raw" / "index.parquet", [{name: row[name] for name in columns} for row in rows])
    tiny_model_folder(tmp_path / "model", name="balle-li", N=4)
    yield tmp_path


def test_it_ends_at_once_though_a_browser_looks_at_it(mongo: str, stages: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folders = ["--raw", "raw", "--curated", "curated", "--model", "model", "--evaluation", "evaluation"]
    app = subprocess.Popen(
        [sys.executable, "-m", "balle_li.app", "--port", str(port), *folders],
        cwd=stages, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    assert app.stdout is not None
    while "Ctrl-C ends it" not in (line := app.stdout.readline()):
        assert line, "it ended by itself"
    browser = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    subscription = {"events": ["state_update"], "initializer": {"dataset": None}, "polling": False, "subscription": "a"}
    browser.request("POST", "/events", json.dumps(subscription), {"Content-Type": "application/json"})
    assert browser.getresponse().status == 200
    os.killpg(app.pid, signal.SIGINT)
    rest, _ = app.communicate(timeout=25)  # the server and the database too; it waits half a minute for browsers
    assert app.returncode == 0
    assert "Closing" in rest and "Traceback" not in rest
    browser.close()


def evaluated(stages: Path) -> Path:
    """What the evaluate stage leaves of the two test pictures, and of a JPEG beside each."""
    codec, folder, rows = Codec.load(stages / "model", "cpu"), stages / "evaluation", []
    (folder / "streams").mkdir(parents=True)
    for name in ("plain", "turned"):
        pixels = np.asarray(read_picture(stages / "raw" / f"{name}.png", 90.0 if name == "turned" else 0.0))
        boxes = (Box(0.2, 0.2, 0.7, 0.9, "Cat"),) if name == "plain" else ()
        stream = codec.compress(Image.fromarray(pixels))
        (folder / "streams" / f"{name}.bli").write_bytes(stream)
        reference, decoded = Reference(name, pixels, 9000, boxes), np.asarray(codec.decompress(stream))
        for names in (("balle-li", "N=4, lmbda=0.01", HEADLINE), ("jpeg", "quality 8", CLASSICAL)):
            rows.append(measure_decoded(reference, names, decoded, len(stream), (0.1, 0.1), ["psnr", "ms_ssim"]))
    write_measurements(folder / "measurements.parquet", mark_compared(to_frame(rows)))
    return folder


def test_an_evaluation_is_found_again_in_the_dataset(mongo: str, stages: Path) -> None:
    evaluation = evaluated(stages)
    folders = stages / "raw", stages / "curated", stages / "model", evaluation
    dataset = open_curated(*folders[:2])
    add_evaluation(dataset, *folders)
    own = "balle_li_N_4_lmbda_0_01"
    samples = {sample.image_id: sample for sample in dataset}
    assert samples["other"][own] is None
    assert samples["plain"][own].psnr_inside is not None and samples["turned"][own].psnr_inside is None
    assert dataset.load_saved_view("balle-li (N=4, lmbda=0.01): worst inside boxes").values("image_id") == ["plain"]

    for sample in (samples["plain"], samples["turned"]):
        with Image.open(sample.filepath) as original, Image.open(sample[f"{own}_reconstruction"]) as reconstruction:
            assert reconstruction.size == original.size == (88, 64), "not as the App shows the original"
            stream = (evaluation / "streams" / f"{sample.image_id}.bli").stat().st_size
            assert sample[own].bpp == pytest.approx(8 * stream / (88 * 64))
            error = np.mean((np.asarray(original, float) - np.asarray(reconstruction, float)) ** 2)
            assert sample[own].psnr == pytest.approx(10 * np.log10(255**2 / error), abs=1e-6)
        for name in ("bits", "importance"):
            assert sample[f"{own}_{name}"].map.shape == (64, 88)

    pictures = stages / ".fiftyone/reconstructions" / own
    written = {path: path.stat().st_mtime_ns for path in pictures.iterdir()}
    add_evaluation(dataset, *folders)
    assert written == {path: path.stat().st_mtime_ns for path in pictures.iterdir()}, "the same was decoded again"


def test_an_evaluation_of_another_model_is_refused(mongo: str, stages: Path) -> None:
    evaluation = evaluated(stages)
    dataset = open_curated(stages / "raw", stages / "curated")
    tiny_model_folder(stages / "model", name="balle-li", N=4, seed=1)
    with pytest.raises(StageError, match=r"decoding picture plain.*model"):
        add_evaluation(dataset, stages / "raw", stages / "curated", stages / "model", evaluation)
    tiny_model_folder(stages / "model", name="balle", N=4)
    with pytest.raises(StageError, match="kedro run --pipeline evaluate"):
        add_evaluation(dataset, stages / "raw", stages / "curated", stages / "model", evaluation)
    assert not [name for name in dataset.get_field_schema() if name.startswith("balle")]


def test_runs_stand_beside_one_another(mongo: str, stages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluation = evaluated(stages)
    rows = [row for row in read_manifest(stages / "curated/manifest.parquet") if row["split"] == "test"]
    for name, pictures in (("first", test_set.digest(rows)), ("second", test_set.digest(rows)), ("third", "others")):
        figures = {"rd_cost": 1.0, "encode_ms": 1.0, "decode_ms": 1.0, "bpp": 1.0}
        facts = {"model": figures, "test_set": pictures, "all_pictures": pictures, "counts": {"pictures": len(rows)}}
        write_json(evaluation / "metrics.json", facts)
        write_json(evaluation / "rd_curve.json", [])
        with run.attached(run.open_run({}, {"dvc.exp_name": name}), {}, {}) as log:
            log.metrics(0, {"test/bpp": 1.0})
            for file in ("metrics.json", "measurements.parquet"):
                log.artifact(evaluation / file, "evaluation")
            registry.register(
                RegisterConfig("codec", "psnr", None, None, None, 0.01),
                stages / "model",
                evaluation,
                "# card of {}".format,
                bd_rate,
            )
    dataset = open_curated(stages / "raw", stages / "curated")
    add_runs(dataset, stages / "raw", stages / "curated", [])
    assert "Run third is left out: it measured other test pictures" in capsys.readouterr().err
    shown = {name: dataset.get_field_schema()[name] for name in dataset.get_field_schema() if "balle_li" in name}
    assert {name for name in shown if name.endswith(("first", "second", "third"))} == {
        "balle_li_N_4_lmbda_0_01_first", "balle_li_N_4_lmbda_0_01_second",
    }  # fmt: skip
    (sample,) = dataset.match({"image_id": "plain"})
    stream = (evaluation / "streams/plain.bli").stat().st_size
    assert sample["balle_li_N_4_lmbda_0_01_second.bpp"] == pytest.approx(8 * stream / (88 * 64))
    assert Path(sample["balle_li_N_4_lmbda_0_01_second_reconstruction"]).is_file()


def test_without_an_evaluation_there_is_nothing_to_add(mongo: str, stages: Path) -> None:
    dataset = open_curated(stages / "raw", stages / "curated")
    add_evaluation(dataset, stages / "raw", stages / "curated", stages / "model", stages / "evaluation")
    assert not [name for name in dataset.list_saved_views() if "worst" in name]
