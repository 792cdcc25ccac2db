import io

import pytest
from PIL import Image
from tiny_model import tiny_model_folder

from balle_li.errors import TrackingError

METRICS = {"bpp": 0.5, "psnr": 30.0, "ms_ssim": 0.96, "compression_ratio": 20.0}
FACTS = {"model": "balle", "lmbda": 0.01}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.fixture
def model_folder(tmp_path):
    tiny_model_folder(tmp_path / "model")
    return tmp_path / "model"


def register(model_folder, rd_cost):
    from balle_li.tracking import registry, run

    metrics = {"model": {**METRICS, "rd_cost": rd_cost}, "test_set": "abc"}
    with run.attached(run.open_run({}, {}), {}, {}):
        return registry.register("codec", model_folder, metrics, FACTS)


def test_champion_moves_only_to_a_better_version_and_each_leaves_its_reason(home, model_folder):
    from balle_li.tracking import connection, registry

    with pytest.raises(TrackingError, match="is not in the registry"):
        registry.model_path("models:/codec@champion")
    first, worse, better = (register(model_folder, cost) for cost in (0.9, 1.0, 0.8))
    assert [entry["promoted"] for entry in (first, worse, better)] == [True, False, True]
    assert [entry["champion"] for entry in (first, worse, better)] == ["1", "1", "3"]
    client = connection.connect().MlflowClient()
    assert str(client.get_model_version_by_alias("codec", "champion").version) == "3"
    for entry in (first, worse, better):
        version = client.get_model_version("codec", entry["version"])
        assert version.tags["reason"] == version.description == entry["reason"]
        assert float(version.tags["bpp"]) == 0.5
        assert version.run_id == entry["run_id"]
    assert (registry.model_path("models:/codec@champion") / "model.safetensors").read_bytes() == (
        model_folder / "model.safetensors"
    ).read_bytes()


def test_the_registered_model_compresses_and_decompresses(home, model_folder):
    import pandas as pd

    from balle_li.tracking import connection

    register(model_folder, 0.9)
    mlflow = connection.connect()
    model = mlflow.pyfunc.load_model("models:/codec@champion")
    assert model.metadata.signature is not None and model.input_example is not None
    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((48, 40)).save(file, format="PNG")
    streams = model.predict(pd.DataFrame({"data": [file.getvalue()]}), params={"operation": "compress"})
    pictures = model.predict(streams, params={"operation": "decompress"})
    with Image.open(io.BytesIO(pictures["data"][0])) as picture:
        assert picture.size == (48, 40)
