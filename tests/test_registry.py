"""Models by name, and their hyperparameters."""

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from balle_li import registry
from balle_li.errors import ConfigError
from balle_li.models.base import CompressionModel, build
from balle_li.registry import MODELS, ModelConfig

OWN = {"balle", "balle-encoder", "balle-encoder-5", "balle-li", "balle-li-roi"}
ZOO = {"bmshj2018-factorized", "bmshj2018-hyperprior", "cheng2020-anchor", "cheng2020-attn", "mbt2018", "mbt2018-mean"}


class Theirs(CompressionModel):
    """As another package would offer it."""

    downsampling = 16

    def __init__(self, N: int, blocks: int = 2, rate: float = 0.5, wide: bool = False) -> None:
        super().__init__()
        self.given = N, blocks, rate, wide


@pytest.fixture
def offered(monkeypatch):
    """Entry points of another package."""
    points = {
        "theirs": f"{__name__}:Theirs",
        "broken": "package_that_is_not_there:Model",
        "no-class": f"{__name__}:OWN",
        "balle": f"{__name__}:Theirs",
    }
    found = [EntryPoint(name, value, MODELS.group) for name, value in points.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: [point for point in found if point.group == group])
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__] if __name__ in sys.modules else _this())
    registry._offered.cache_clear()
    yield
    monkeypatch.undo()
    registry._offered.cache_clear()


def _this():
    import types

    module = types.ModuleType(__name__)
    module.__dict__.update(globals())
    return module


def test_names_are_known_without_importing_torch():
    code = (
        "import sys; from balle_li.registry import MODELS, ModelConfig\n"
        "ModelConfig('balle', {'N': 64}); print(sorted(MODELS.names()), 'torch' in sys.modules)"
    )
    finished = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert finished.stdout == f"{sorted(OWN | ZOO)} False\n"


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"'bale' is unknown: did you mean 'balle'\?") as error:
        ModelConfig("bale", {"N": 64})
    assert all(name in str(error.value) for name in MODELS.names())
    assert "once the package is installed" in str(error.value)


def test_the_section_of_params_yaml_there_and_back():
    section = {"name": "balle", "N": 16}
    assert ModelConfig.of(section) == ModelConfig("balle", {"N": 16})
    assert ModelConfig.of(section).facts() == section
    with pytest.raises(ConfigError, match=r"model\.name is missing"):
        ModelConfig.of({"N": 16})


@pytest.mark.parametrize("name", sorted(OWN))
def test_a_model_knows_its_name_and_hyperparameters(name):
    model = build(ModelConfig(name, {"N": 8}))
    assert (model.name, model.arguments) == (name, {"N": 8})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"N": 8, "M": 3}, r"model.M is unknown: .*balle takes N$"),
        ({}, r"model.N is missing; balle needs it$"),
        ({"N": "wide"}, r"model.N must be of type int, not 'wide'$"),
        ({"N": True}, r"model.N must be of type int, not True$"),
        ({"N": 0}, r"model.N is 0, must be between 1 and 1024"),
    ],
)
def test_hyperparameters_that_do_not_fit_are_said_in_one_line(arguments, message):
    with pytest.raises(ConfigError, match=message) as error:
        build(ModelConfig("balle", arguments))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("levels", [0, 9])
def test_levels_that_no_order_has_are_refused(levels):
    with pytest.raises(ConfigError, match=f"model.levels is {levels}, must be between 1 and 8"):
        ModelConfig("balle-li-roi", {"N": 8, "levels": levels})


def test_a_models_of_another_package_takes_hyperparameters_of_its_own(offered):
    assert {"theirs", "broken"} <= set(MODELS.names()) and MODELS.names().count("balle") == 1
    model = build(ModelConfig("theirs", {"N": 8, "rate": "1e-3"}))  # which YAML 1.1 reads as a string
    assert model.given == (8, 2, 0.001, False)
    assert (model.name, model.arguments) == ("theirs", {"N": 8, "rate": 0.001})
    with pytest.raises(ConfigError, match=r"model.block is unknown: did you mean 'blocks'\? "):
        build(ModelConfig("theirs", {"N": 8, "block": 3}))


def test_the_packages_own_models_cannot_be_replaced_from_outside(offered):
    assert not isinstance(build(ModelConfig("balle", {"N": 8})), Theirs)


def test_what_another_package_breaks_is_said_in_one_line(offered):
    with pytest.raises(ConfigError, match="'broken' of another package cannot be imported"):
        build(ModelConfig("broken", {"N": 8}))
    with pytest.raises(ConfigError, match="'no-class' must name a class"):
        build(ModelConfig("no-class", {"N": 8}))
