import dataclasses
import json
import re

import pytest
import yaml

from balle_li.boxes import Box
from balle_li.codec.model_folder import ModelFolder
from balle_li.data.manifest import write_manifest
from balle_li.errors import StageError
from balle_li.evaluation.metrics import all_facts
from balle_li.files import read_json, write_json
from balle_li.tracking.model_card import Origin, write_card

TRAINING = {
    "steps": 100, "best_step": 80, "device": "cpu, 2 threads", "precision": "fp32", "seconds": 90.0,
    "validation": {"bpp": 0.51, "psnr": 29.5},
}  # fmt: skip
MODEL = {"bpp": 0.5, "psnr": 30.0, "ms_ssim": None, "compression_ratio": 20.0, "encode_ms": 10.0, "decode_ms": 12.0}
METRICS = {
    "counts": {"pictures": 2},
    "test_set": "abc",
    "metrics": [dataclasses.asdict(facts) for facts in all_facts(["psnr", "ms_ssim"])],
    "model": MODEL,
    "jpeg": {"at_equal_bpp": {"bpp": 0.5, "psnr": 29.0}, "verdict": ["The model is better."]},
    "baselines": {"released": {"verdict": "It needs less than released."}},
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
    assert re.findall(r"^## (.*)", card, re.M) == ["Use", "Data", "Training", "Metrics", "Limits", "Reproduce"]
    assert ModelFolder.load(folders[0]).fingerprint.hex() in card
    assert "| https://creativecommons.org/licenses/by/2.0/ | 1 | 0 | 1 |" in card
    assert "| unknown | 1 | 0 | 0 |" in card and "1 training pictures state no licence" in card
    assert "--model models:/codec/7\n" in card and "--model models:/codec@" not in card
    assert "Dog (2)" in card and "1 authors" in card
    assert "| PSNR, dB | 30.00 | 29.00 |" in card and "| MS-SSIM | – | – |" in card
    assert "| started from | models:/codec@champion |" in card
    assert "Dog 22.50 dB, Cat 31.00 dB" in card
    assert "0123abcd" in card and "fedcba" in card


def test_a_variable_rate_model_states_its_bd_rate_and_what_boxes_bring(folders):
    percent = {"percent": -12.3, "overlap": 0.8, "warning": None}
    more = {"bd_rate": {"psnr": percent}, "with_boxes": {"gain_inside": 1.25, "loss_outside": 0.75}}
    (folders[2] / "metrics.json").write_text(json.dumps(METRICS | more))
    card = write_card(*folders, ORIGIN)
    assert "BD-rate by PSNR against JPEG: -12.3 %." in card and "MS-SSIM against" not in card
    assert "at equal size: +1.25 dB inside them, -0.75 dB outside" in card


@pytest.mark.parametrize(
    ("weight", "words"), [(0.0, "trained for the mean squared error:"), (800.0, "an MS-SSIM loss (weight 800):")]
)
def test_a_card_names_the_loss_that_the_model_was_trained_for(folders, weight, words):
    description = read_json(folders[0] / "model.json")
    description["trained_for"]["ms_ssim_weight"] = weight
    write_json(folders[0] / "model.json", description)
    assert words in write_card(*folders, ORIGIN)


def test_its_parameters_can_be_put_back_as_they_were(folders):
    (block,) = re.findall(r"```yaml\n(.*?)```", write_card(*folders, ORIGIN), re.S)
    assert yaml.safe_load(block) == PARAMETERS


def test_a_missing_manifest_names_the_stage(folders):
    (folders[1] / "manifest.parquet").unlink()
    with pytest.raises(StageError, match="kedro run --pipeline curate"):
        write_card(*folders, ORIGIN)


def test_a_card_names_whatever_metrics_were_measured(folders):
    """Without PSNR, and with one of which less is better."""
    facts = {
        "name": "edges",
        "title": "Edge error",
        "unit": "",
        "digits": 3,
        "higher_is_better": False,
        "shortest_side": 1,
    }
    facts |= {"regions": True, "decibels": False, "rate_distortion": True}
    figures = {"bpp": 0.5, "edges": 2.25, "edges_inside": 1.0, "compression_ratio": 20.0}
    classes = [{"label": "Cat", "edges": 1.0}, {"label": "Dog", "edges": 3.0}]
    more = {"metrics": [facts], "model": figures, "per_class": classes, "bd_rate": {"edges": {"percent": -7.0}}}
    (folders[2] / "metrics.json").write_text(json.dumps(METRICS | more))
    card = write_card(*folders, ORIGIN)
    assert "| Edge error | 2.250 |" in card and "| Edge error inside boxes | 1.000 |" in card and "PSNR" not in card
    assert "BD-rate by Edge error against JPEG: -7.0 %" in card
    assert "The classes with the worst Edge error: Dog 3.000, Cat 1.000." in card
