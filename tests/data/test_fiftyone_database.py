import os
import subprocess
import sys

import pytest

PROGRAM = """
import os
from pathlib import Path
from balle_li.data import fiftyone_database
fiftyone_database._set_environment(Path("home"))
print(os.environ.get("LC_ALL"))
"""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"LC_ALL": "xx_XX.UTF-8"}, "C"),
        ({"LANG": "xx_XX.UTF-8"}, "C"),
        ({"LC_ALL": "C.UTF-8"}, "C.UTF-8"),
        ({}, "None"),
    ],
)
def test_mongod_gets_a_locale_that_this_machine_has(given, expected):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))} | given
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == expected


def test_fiftyone_can_be_imported_after_what_mlflow_imports():
    code = (
        "import importlib_metadata; from balle_li.data.fiftyone_database import _imported; print(_imported().__name__)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "fiftyone", answer.stderr
