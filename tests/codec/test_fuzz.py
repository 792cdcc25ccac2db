import subprocess
import sys


def test_damaged_streams_end_in_an_error_or_a_picture(root):
    command = [sys.executable, str(root / "benchmarks" / "fuzz_bitstream.py"), "--streams", "500", "--seed", "7"]
    done = subprocess.run(command, env={"PYTHONPATH": str(root / "src")}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "500 streams, 0 failed" in done.stdout
