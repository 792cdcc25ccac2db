"""What an interrupted evaluation leaves: the pictures it has measured, so that the same command goes on from there."""

import dataclasses
import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from balle_li.errors import BalleLiError
from balle_li.evaluation.measurement import Measurement, Reference
from balle_li.evaluation.model_under_test import PictureResult
from balle_li.files import project_home, read_json, write_json

FORMAT = 1
"""Raise it when what a result means changes: older ones are then measured again."""


class Unfinished:
    """Results of one model by picture, a JSON file and the headline's stream each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, key: str, stream: Path) -> PictureResult | None:
        """The result kept under `key`, its stream copied to `stream`; None when there is none or it is damaged."""
        try:
            record = read_json(self._folder / f"{key}.json")
            curve = tuple(Measurement.from_values(values) for values in record["curve"])
            with_boxes = record["with_boxes"] and Measurement.from_values(record["with_boxes"])
            stream.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._folder / f"{key}.bli", stream)
            return PictureResult(curve[record["headline"]], curve, with_boxes)
        except (BalleLiError, ArithmeticError, IndexError, KeyError, OSError, TypeError, ValueError):
            return None

    def keep(self, key: str, result: PictureResult, stream: Path) -> None:
        """Keep a result and a copy of its `stream`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(stream, self._folder / f"{key}.bli")
        record = {
            "headline": result.curve.index(result.headline),
            "curve": [dataclasses.asdict(measurement) for measurement in result.curve],
            "with_boxes": dataclasses.asdict(result.with_boxes) if result.with_boxes else None,
        }
        write_json(self._folder / f"{key}.json", record)


def key_of(reference: Reference, class_weights: Mapping[str, float]) -> str:
    """The name under which a picture's result is kept: equal pictures with other ids differ."""
    return hashlib.sha256(f"{reference.image_id} {reference.digest(class_weights)}".encode()).hexdigest()


@contextmanager
def unfinished(**what: Any) -> Iterator[Unfinished]:
    """Yield the results of an unfinished evaluation of `what`, a model and how it is measured; forget them at success."""
    key = hashlib.sha256(repr((FORMAT, sorted(what.items()))).encode()).hexdigest()[:16]
    folder = project_home() / ".train" / f"evaluation-{key}"
    yield Unfinished(folder)
    shutil.rmtree(folder, ignore_errors=True)
