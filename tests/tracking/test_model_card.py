import json
import re

import pytest
import yaml

from balle_li.boxes import Box
from balle_li.codec.model_folder import ModelFolder
from balle_li.datasets.manifest import write_manifest
from balle_li.errors import StageError
from balle_li.tracking.model_card import Origin, write_card

TRAINING = {
    "steps": 100, "best_step": 80, "device": "cpu, 2 threads", "precision": "fp32", "seconds": 90.0,
    "validation": {"bpp": 0.51, "psnr": 29.5},
}  # fmt: skip
MODEL = {"bpp": 0.5, "psnr": 30.0, "ms_ssim": None, "compression_ratio": 20.0, "encode_ms": 10.0, "decode_ms": 12.0}
METRICS = {
    "counts": {"pictures": 2},
    "test_set": "abc",
    "model": MODEL,
    "jpeg": {"at_equal_bpp": {"bpp": 0.5, "psnr": 29.0}, "verdict": ["The model is better."]},
    "per_class": [{"label": "Cat", "psnr": 31.0}, {"label": "Dog", "psnr": 22.5}],
}
PARAMETERS = {
    "lmbda": 0.01,
    "dataset": {"source": "directory"},
    "train": {"steps": 100, "init_from": "models:/codec@champion"},
}
ORIGIN = Origin("codec", "7", "0123abcd", PARAMETERS, {"git.commit": "fedcba"})
PICTURE = {"path": "images/a.jpg", "width": 640, "height": 480, "rotation": 0.0, "sha256": "0" * 64}


@pytest.fixture
def folders(model_folder, tmp_path):
    (model_folder / "training.json").write_text(json.dumps(TRAINING))
    curated, evaluation = tmp_path / "curated", tmp_path / "evaluation"
    by, boxes = "https://creativecommons.org/licenses/by/2.0/", [Box(0.1, 0.1, 0.5, 0.5, "Dog")]
    write_manifest(
        curated / "manifest.parquet",
        [
            {**PICTURE, "image_id": "a", "split": "train", "licence": by, "author": "Ada", "boxes": boxes},
            {**PICTURE, "image_id": "b", "split": "train", "licence": None, "author": None, "boxes": []},
            {**PICTURE, "image_id": "c", "split": "test", "licence": by, "author": "Ada", "boxes": boxes},
        ],
    )
    evaluation.mkdir()
    (evaluation / "metrics.json").write_text(json.dumps(METRICS))
    return model_folder, curated, evaluation


def test_a_card_says_what_from_what_how_good_and_how_again(folders):
    card = write_card(*folders, ORIGIN)
    assert re.findall(r"^## (.*)", card, re.M) == ["Use", "Data", "Training", "Figures", "Limits", "Reproduce"]
    assert ModelFolder.load(folders[0]).fingerprint.hex() in card
    assert "| https://creativecommons.org/licenses/by/2.0/ | 1 | 0 | 1 |" in card
    assert "| unknown | 1 | 0 | 0 |" in card and "1 training pictures state no licence" in card
    assert "--model models:/codec/7\n" in card and "--model models:/codec@" not in card
    assert "Dog (2)" in card and "1 authors" in card
    assert "| PSNR, dB | 30.00 | 29.00 |" in card and "| MS-SSIM | – | – |" in card
    assert "| started from | models:/codec@champion |" in card
    assert "Dog 22.5 dB, Cat 31.0 dB" in card
    assert "0123abcd" in card and "fedcba" in card


def test_a_model_of_variable_rate_states_its_bd_rate_and_what_boxes_bring(folders):
    percent = {"percent": -12.3, "overlap": 0.8, "warning": None}
    more = {"bd_rate": {"psnr": percent}, "with_boxes": {"gain_inside": 1.25, "loss_outside": 0.75}}
    (folders[2] / "metrics.json").write_text(json.dumps(METRICS | more))
    card = write_card(*folders, ORIGIN)
    assert "BD-rate by PSNR against JPEG: -12.3 %." in card and "MS-SSIM against" not in card
    assert "at equal size: +1.25 dB inside them, -0.75 dB outside" in card


def test_its_parameters_can_be_put_back_as_they_were(folders):
    (block,) = re.findall(r"```yaml\n(.*?)```", write_card(*folders, ORIGIN), re.S)
    assert yaml.safe_load(block) == PARAMETERS


def test_a_missing_manifest_names_the_stage(folders):
    (folders[1] / "manifest.parquet").unlink()
    with pytest.raises(StageError, match="kedro run --pipeline curate"):
        write_card(*folders, ORIGIN)
