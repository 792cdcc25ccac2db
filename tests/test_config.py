"""What is wrong with params.yaml is said in one line that names the parameter."""

import copy
from dataclasses import asdict

import pytest
import yaml
from small_project import ROOT

from balle_li.config import Parameters, TrainConfig, read
from balle_li.errors import ConfigError

GOOD = yaml.safe_load((ROOT / "params.yaml").read_text())


def changed(name, value):
    """The parameters, the one of that name changed."""
    values = copy.deepcopy(GOOD)
    *path, last = name.split(".")
    section = values
    for part in path:
        section = section[part]
    section[last] = value
    return values


def test_sections_have_what_the_file_says():
    parameters = read(Parameters, GOOD, "")
    assert asdict(parameters.train) == GOOD["train"]
    assert parameters.model.facts() == GOOD["model"]
    assert (parameters.lmbda, parameters.curate.split) == (GOOD["lmbda"], GOOD["curate"]["split"])


@pytest.mark.parametrize("text", ["1e-4", "0.0001"])
def test_numbers_as_yaml_1_1_reads_them(text):
    assert read(Parameters, changed("lmbda", text), "").lmbda == 1e-4


def test_a_class_whose_name_is_a_number():
    assert read(Parameters, changed("class_weights", {1: 2}), "").class_weights == {"1": 2.0}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lambda", 0.1, "lambda is unknown: did you mean 'lmbda'?"),
        ("train.stepz", 1, "train.stepz is unknown: did you mean 'steps'?"),
        ("dataset.directory.x", 1, "dataset.directory.x is unknown: known are paths, labels"),
        ("train", 3, "train must be a mapping, not 3"),
        ("train.steps", "many", "train.steps must be of type int, not 'many'"),
        ("train.steps", True, "train.steps must be of type int, not True"),
        ("train.steps", 1.5, "train.steps must be of type int, not 1.5"),
        ("train.steps", 0, "train.steps is 0, must be at least 1"),
        ("train.lr", 1, "train.lr is 1, must be below 1"),
        ("train.lr", "2e1", "train.lr is 20, must be below 1"),
        ("train.lr", "-1e-3", "train.lr is -0.001, must be above 0"),
        ("train.lr", "fast", "train.lr must be of type float, not 'fast'"),
        ("train.compile", "yes", "train.compile must be of type bool, not 'yes'"),
        ("train.schedule", "slow", "train.schedule is 'slow', must be one of one-cycle, step, constant"),
        ("train.crop", 512, "train.crop is 512, but patches.size is only 256"),
        ("seed", -1, "seed is -1, must be at least 0"),
        ("seed", 2**80, "seed is 1208925819614629174706176, must be below 9.22337e+18"),
        ("seed", 10**400, f"seed is {10**400}, must be below 9.22337e+18"),
        ("lmbda", 0, "lmbda is 0, must be above 0"),
        ("class_weights", {"Dog": -1}, "class_weights.Dog is -1, must be at least 0"),
        ("class_weights", {"Dog": 1e39}, "class_weights.Dog is 1e+39, must be at most 1e+06"),
        ("dataset.source", "directory", "dataset.directory.paths is empty: name the folders that hold your pictures"),
        ("dataset.open_images.splits", "train", "dataset.open_images.splits must be a list, not 'train'"),
        ("dataset.open_images.splits", [], "dataset.open_images.splits names no split: give train, validation or test"),
        ("dataset.open_images.classes", [1], "dataset.open_images.classes[0] must be of type str, not 1"),
        ("dataset.max_missing", 1.5, "dataset.max_missing is 1.5, must be at most 1"),
        ("curate.split", {"train": 1.0}, "curate.split must give a fraction to each of train, validation, test"),
        ("curate.split.test", 0.5, "curate.split: the fractions add up to 1.3, not 1"),
        ("curate.min_box_area", 1.5, "curate.min_box_area is 1.5, must be below 1"),
        ("curate.near_duplicate_bits", 40, "curate.near_duplicate_bits is 40, must be at most 10"),
        ("patches.shard_mib", 0, "patches.shard_mib is 0, less than one patch of size 256"),
        ("compute.scheduler", "host", "compute.scheduler is 'host', not an address such as tcp://host:8786"),
        ("model.name", "balle-lee", "model 'balle-lee' is unknown: did you mean 'balle-li'? known are "),
        ("model.N", "many", "model.N must be of type int, not 'many'"),
        ("evaluate.qualities", [50, 101], "evaluate.qualities[1] is 101, must be at most 100"),
        ("evaluate.qualities", ["1e3"], "evaluate.qualities[0] is 1000, must be at most 100"),
        ("evaluate.extra_sets", {"test": "."}, "evaluate.extra_sets: 'test' must be letters, digits, - and _, and not test"),
        ("evaluate.baselines", ["relesed"], "evaluate.baselines: relesed is no model folder, without a model.json"),
        ("evaluate.extra_sets", {"kodak": "/nowhere"}, "evaluate.extra_sets.kodak: /nowhere is not a folder"),
        ("evaluate.metrics", [], "evaluate.metrics names none: psnr is one"),
        ("evaluate.metrics", ["psnr", "vmaf"], "metric 'vmaf' is unknown: known are "),
        ("evaluate.metrics", ["psnr"], "register.metric is ms_ssim_db, but evaluate.metrics has only psnr"),
        ("evaluate.codecs", ["webb"], "classical codec 'webb' is unknown: did you mean 'webp'?"),
        ("dataset.source", "sampel", "data source 'sampel' is unknown: did you mean 'sample'?"),
        ("register.metric", "ms_sim", "metric 'ms_sim' is unknown: did you mean 'ms_ssim'?"),
        ("register.name", "", "register.name is '': give a name without / : ? ' and \""),
        ("register.name", " ", "register.name is ' ': give a name"),
        ("register.name", "my/model", "register.name is 'my/model': give a name"),
        ("register.name", "a:b", "register.name is 'a:b': give a name"),
        ("register.name", "a?b", "register.name is 'a?b': give a name"),
        ("register.name", "bob's", "register.name is \"bob's\": give a name"),
        ("register.name", 'b"', "register.name is 'b\"': give a name"),
        ("register.name", "..", "register.name is '..': give a name"),
        ("register.min_gain", 1, "register.min_gain is 1, must be below 1"),
        ("register.max_encode_ms", 0, "register.max_encode_ms is 0, must be above 0"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(name, value, message):
    with pytest.raises(ConfigError) as caught:
        read(Parameters, changed(name, value), "")
    assert str(caught.value).startswith(f"params.yaml: {message}") and "\n" not in str(caught.value)


def test_a_missing_parameter_is_named():
    values = copy.deepcopy(GOOD)
    del values["train"]["steps"]
    with pytest.raises(ConfigError, match=r"params\.yaml: train\.steps is missing"):
        read(Parameters, values, "")


def test_a_section_alone_names_itself():
    with pytest.raises(ConfigError, match=r"params\.yaml: train\.stepz is unknown: did you mean 'steps'"):
        read(TrainConfig, GOOD["train"] | {"stepz": 1}, "train")


def test_a_baseline_has_a_name_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    for name in ("jpeg", "webp", "balle-li-roi", "kept"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.json").touch()
    good = ["released", "models:/balle-li@champion", "kept", "./balle-li-roi"]
    assert read(Parameters, changed("evaluate.baselines", good), "").evaluate.baselines == good
    for name in ("jpeg", "webp", "balle-li-roi"):
        with pytest.raises(ConfigError, match=f"{name} is another curve's name; write the folder as ./{name}"):
            read(Parameters, changed("evaluate.baselines", [*good, name]), "")
