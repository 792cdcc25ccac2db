"""What the evaluate stage left of one run, read back for a comparison."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from balle_li.errors import BalleLiError
from balle_li.evaluation.config import TEST_SET
from balle_li.evaluation.curves import RdCurve, RdPoint
from balle_li.evaluation.examples import SHOWN
from balle_li.evaluation.measurement import read_records
from balle_li.evaluation.shown_pictures import INDEX
from balle_li.files import read_json

PAPER_JPEG = tuple(f"quality {quality}, 4:2:0" for quality in (8, 16, 32))
"""The settings that Graham & Decoto (2019) compare with."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class SetResult:
    """A run on one set of pictures. `pictures` has a row a picture at the headline's setting, `paper_jpeg` by setting.

    shown: the entries of `shown.json`; their pictures lie below `folder`/shown. None where the run kept none.
    """

    folder: Path
    digest: str
    metrics: Mapping[str, Any]
    curve: RdCurve
    classical: Mapping[str, RdCurve]
    pictures: list[Row]
    paper_jpeg: Mapping[str, list[Row]]
    shown: list[dict[str, Any]] | None


@dataclass(frozen=True)
class EvaluatedRun:
    """A run with its results by set. `parameters` are flat, as MLflow keeps them: {"train.lr": "0.002"}."""

    run_id: str
    name: str
    started: str
    source: str
    parameters: Mapping[str, str]
    sets: Mapping[str, SetResult]

    @property
    def model(self) -> str:
        return self.sets[TEST_SET].curve.codec

    @property
    def lmbda(self) -> str:
        return self.parameters.get("lmbda", "?")


def read_run(
    run_id: str, name: str, started: str, source: str, parameters: Mapping[str, str], folder: Path
) -> EvaluatedRun:
    """Read a run's evaluation from `folder`, a copy of what lies at `source`.

    Raises BalleLiError when a file is missing or damaged.
    """
    sets = {TEST_SET: _read_set(folder)}
    for part in sorted((folder / "sets").glob("*")):
        sets[part.name] = _read_set(part)
    return EvaluatedRun(run_id, name, started, source, parameters, sets)


def _read_set(folder: Path) -> SetResult:
    metrics = read_json(folder / "metrics.json")
    path = folder / "classical.json"
    classical = _curves(folder / "jpeg.json") if not path.exists() else _curves(path)
    (curve,) = _curves(folder / "rd_curve.json").values()
    rows = read_records(folder / "pictures.parquet")
    try:
        own = [row for row in rows if row["codec"] == curve.codec]
        headline = min(curve.points, key=lambda point: abs(point.bpp - metrics["model"]["bpp"])).setting
        jpeg: dict[str, list[Row]] = {
            setting: [row for row in rows if (row["codec"], row["setting"]) == ("jpeg", setting)]
            for setting in PAPER_JPEG
        }
        index = folder / SHOWN / INDEX
        return SetResult(
            folder=folder,
            digest=str(metrics["test_set"]),
            metrics=metrics,
            curve=curve,
            classical=classical,
            pictures=[row for row in own if row["setting"] == headline],
            paper_jpeg={setting: found for setting, found in jpeg.items() if found},
            shown=read_json(index) if index.exists() else None,
        )
    except (KeyError, TypeError) as error:
        raise BalleLiError(f"{folder} is of another version of the project ({error!r})") from None


def _curves(path: Path) -> dict[str, RdCurve]:
    points: dict[str, list[RdPoint]] = {}
    try:
        for record in read_json(path):
            values = dict(record)
            points.setdefault(values.pop("codec"), []).append(RdPoint(**values))
    except (KeyError, TypeError) as error:
        raise BalleLiError(f"{path} is of another version of the project ({error})") from None
    if not points:
        raise BalleLiError(f"{path} holds no point")
    return {codec: RdCurve(codec, tuple(found)) for codec, found in points.items()}
