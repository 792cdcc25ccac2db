import subprocess
import sys

import pytest

from balle_li.errors import ConfigError
from balle_li.models.config import ModelConfig
from balle_li.models.registry import names


def test_names_are_known_without_importing_torch():
    code = "import sys; from balle_li.models.config import ModelConfig; ModelConfig('balle', 64); print('torch' in sys.modules)"
    finished = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert finished.stdout == "False\n"


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"'bale' is unknown: did you mean 'balle'\?") as error:
        ModelConfig("bale", 64)
    assert all(name in str(error.value) for name in names())


def test_channels_must_be_positive():
    with pytest.raises(ConfigError, match="N is 0"):
        ModelConfig("balle", 0)
