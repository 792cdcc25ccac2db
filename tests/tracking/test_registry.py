import io
import json

import pytest
from PIL import Image

from balle_li.errors import TrackingError


def client():
    from balle_li.tracking import connection

    return connection.connect().MlflowClient()


def test_champion_moves_only_to_a_better_version_and_each_leaves_its_reason(register, model_folder):
    from balle_li.tracking import registry

    with pytest.raises(TrackingError, match="is not in the registry"):
        registry.model_path("models:/codec@champion")
    first, worse, better = (register(cost) for cost in (0.9, 1.0, 0.8))
    assert [entry["alias"] for entry in (first, worse, better)] == ["champion", "challenger", "champion"]
    assert [entry["promoted"] for entry in (first, worse, better)] == [True, False, True]
    assert [entry["champion"] for entry in (first, worse, better)] == ["1", "1", "3"]
    assert str(client().get_model_version_by_alias("codec", "champion").version) == "3"
    assert str(client().get_model_version_by_alias("codec", "challenger").version) == "2"
    for entry in (first, worse, better):
        version = client().get_model_version("codec", entry["version"])
        assert version.tags["reason"] == entry["reason"]
        assert version.description == f"{entry['reason']}\n\n# codec {entry['version']}\n\nA card.\n"
        assert float(version.tags["bpp"]) == 0.5
        assert version.run_id == entry["run_id"]
    assert register(1.1)["alias"] is None, "the newest is the challenger, though it is worse"
    assert str(client().get_model_version_by_alias("codec", "challenger").version) == "2"
    folder = registry.model_path("models:/codec@champion")
    assert (folder / "model.safetensors").read_bytes() == (model_folder / "model.safetensors").read_bytes()
    assert (folder.parent / "MODEL_CARD.md").read_text() == "# codec 3\n\nA card.\n"


def test_a_model_trained_for_something_else_leaves_the_champion(register, model_folder):
    register(0.9)
    description = json.loads((model_folder / "model.json").read_text())
    description["trained_for"]["ms_ssim_weight"] = 1.0
    (model_folder / "model.json").write_text(json.dumps(description))
    other = register(0.1)
    assert other["alias"] is None and other["champion"] == "1" and "trained for MS-SSIM" in other["reason"]
    assert [client().get_model_version("codec", version).tags["kind"] for version in "12"] == ["mse", "ms-ssim"]


def test_a_card_names_its_version_after_another_was_deleted(register):
    from balle_li.tracking import registry

    register(0.9)
    register(0.8)
    client().delete_model_version("codec", "2")
    assert register(0.7)["version"] == "3"
    folder = registry.model_path("models:/codec/3")
    assert (folder.parent / "MODEL_CARD.md").read_text().startswith("# codec 3\n")


def test_a_version_over_a_limit_is_registered_and_gets_no_alias(register):
    entry = register(0.1, encode_ms=200.0)
    assert entry["alias"] is None and entry["champion"] is None
    version = client().get_model_version("codec", entry["version"])
    assert version.aliases == [] and "register.max_encode_ms is 100" in version.tags["reason"]


def test_a_card_that_is_longer_than_mlflow_keeps_is_cut_at_a_heading():
    from balle_li.tracking.registry import DESCRIPTION_LENGTH, _description

    text = _description("# codec\n\n## Data\n\nmuch\n\n## Reproduce\n\n" + "x" * DESCRIPTION_LENGTH)
    assert len(text) < DESCRIPTION_LENGTH and "much" in text and "Reproduce" not in text and "MODEL_CARD.md" in text


def test_the_registered_model_compresses_and_decompresses(register):
    import pandas as pd

    from balle_li.tracking import connection

    register(0.9)
    mlflow = connection.connect()
    model = mlflow.pyfunc.load_model("models:/codec@champion")
    assert model.metadata.signature is not None and model.input_example is not None
    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((48, 40)).save(file, format="PNG")
    streams = model.predict(pd.DataFrame({"data": [file.getvalue()]}), params={"operation": "compress"})
    pictures = model.predict(streams, params={"operation": "decompress"})
    with Image.open(io.BytesIO(pictures["data"][0])) as picture:
        assert picture.size == (48, 40)


def test_a_versions_tags_are_few_and_short_and_its_curve_an_artifact(register):
    from balle_li.tracking import registry

    curve = [{"bpp": bpp, "psnr": 30 + bpp, "ms_ssim_db": 10 + bpp} for bpp in (0.123456789, 0.5, 1.0)]
    register(0.9123456789, curve)
    tags = client().get_model_version("codec", "1").tags
    assert len(tags) <= 10 and max(len(value) for name, value in tags.items() if name != "reason") <= 12
    assert tags["rd_cost"] == "0.912346"
    assert registry.find_holder("codec", "champion").points == tuple(curve)


def test_a_version_holds_the_code_but_not_the_weights_that_ship(register, home, model_folder):
    register(0.9)
    (code,) = (home / "mlruns").rglob("code/balle_li")
    assert (code / "codec" / "codec.py").is_file() and not list(code.rglob("__pycache__"))
    assert not list(code.rglob("*.safetensors")) and not (code / "released_model").exists()
    assert sum(path.stat().st_size for path in (home / "mlruns").rglob("*")) < 3e6


def test_registering_says_nothing_of_examples(register, capfd):
    register(0.9)
    printed = capfd.readouterr()
    assert "example" not in printed.out + printed.err
