"""What users do with the registered model: serve it, read its card, take a promotion back."""

import base64
import io
import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from PIL import Image
from small_project import Project

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def server(project: Project) -> Iterator[str]:
    """The address of `mlflow models serve`, started as the README says."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = f"exec mlflow models serve -m models:/balle-li@champion --env-manager local --port {port}"
    log = (project.path / "serve.log").open("w")
    process = subprocess.Popen(
        command, shell=True, cwd=project.path, env=project.environment, start_new_session=True, stdout=log, stderr=log
    )
    try:
        deadline = time.monotonic() + 300
        while not _answers(f"http://127.0.0.1:{port}/ping"):
            assert process.poll() is None and time.monotonic() < deadline, (project.path / "serve.log").read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        process.terminate()
        process.wait(timeout=20)
        log.close()
        (project.path / "serve.log").unlink()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def invoke(address: str, data: bytes, **params: object) -> bytes:
    """What the server makes of `data`."""
    table = {"columns": ["data"], "data": [[base64.b64encode(data).decode()]]}
    body = json.dumps({"dataframe_split": table, "params": params}).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return base64.b64decode(json.load(answer)["predictions"][0]["data"])


def test_it_is_served_over_rest(server, project):
    picture = (project.path / "data/01_raw/images/rocket.jpg").read_bytes()
    stream = invoke(server, picture)
    assert stream == invoke(server, picture, operation="compress")
    assert 8 * len(stream) < 640 * 427 * 24 / 10
    with Image.open(io.BytesIO(invoke(server, stream, operation="decompress"))) as decoded:
        assert decoded.size == (640, 427) and decoded.format == "PNG"


def test_the_requests_of_its_description_work(server, project, tmp_path):
    blocks = re.findall(r"```bash\n(.*?)```", (project.path / "docs/rest.md").read_text(), re.S)
    script = "\n".join(blocks[1:]).replace("http://127.0.0.1:5000/invocations", server)  # the first starts the server
    shutil.copy(project.path / "data/01_raw/images/rocket.jpg", tmp_path / "photo.jpg")
    environment = project.environment
    answer = subprocess.run(
        ["bash", "-ec", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert answer.returncode == 0, answer.stderr
    with Image.open(tmp_path / "photo.png") as decoded:
        assert decoded.size == (640, 427)
    assert (tmp_path / "photo.bli").stat().st_size < (tmp_path / "photo.jpg").stat().st_size


@pytest.mark.parametrize(
    ("data", "params", "message"),
    [
        (b"nonsense", {}, "row 0: not a picture"),
        (b"nonsense", {"operation": "decompress"}, "not a Balle-Li stream"),
        (b"nonsense", {"operation": "shrink"}, "must be one of compress, decompress"),
        (b"nonsense", {"boxes": "a face"}, "boxes must be JSON"),
        (b"nonsense", {"quality": "high"}, "quality"),
        (b"nonsense", {"qualty": 50.0}, "parameter 'qualty' is unknown: did you mean 'quality'?"),
    ],
)
def test_what_it_cannot_do_is_refused_with_a_message(server, data, params, message):
    with pytest.raises(urllib.error.HTTPError) as caught:
        invoke(server, data, **params)
    answer = json.loads(caught.value.read())
    assert caught.value.code == 400
    assert message in answer["message"] and "stack_trace" not in answer


def test_its_card_lies_beside_the_report(project):
    card = (project.path / "data/05_reports/MODEL_CARD.md").read_text()
    (run,) = project.mlflow_runs()
    assert run.info.run_id in card and "public domain" in card


def test_the_first_champion_cannot_be_taken_back(project):
    answer = project.run("PYTHONPATH=src python -m balle_li.tracking.rollback", check=False)
    assert answer.returncode == 1
    assert answer.stderr.strip().splitlines()[-1] == (
        "version 1 of balle-li is its first champion: there is no version to go back to"
    )
