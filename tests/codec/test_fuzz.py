import subprocess
import sys

import pytest


@pytest.mark.parametrize("model", ["balle", "balle-li-roi"])
def test_damaged_streams_end_in_an_error_or_a_picture(root, model):
    folder = root / "tests" / "codec" / "golden" / model / "model"
    command = [sys.executable, str(root / "benchmarks" / "fuzz_bitstream.py"), "--streams", "500", "--seed", "7"]
    command += ["--model", str(folder)]
    done = subprocess.run(command, env={"PYTHONPATH": str(root / "src")}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "500 streams, 0 failed" in done.stdout
