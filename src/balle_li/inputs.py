"""What lies in the user's own folders. DVC does not version them, so this stage looks at them each time.

`python -m balle_li.inputs` writes data/00_inputs/pictures.json, of dataset.directory.paths and the labels of its pictures,
extra_sets.json, of evaluate.extra_sets, baselines.json, of the folders in evaluate.baselines, and init_from.json, of the
folder or file in train.init_from. The stages that read these depend on one of the four: they run again when it changed.
"""

import os
import sys
from pathlib import Path
from typing import Any

import yaml

from balle_li.config import RELEASED, ZOO, Parameters, is_registered, read
from balle_li.errors import BalleLiError, ConfigError, DatasetError, in_one_line
from balle_li.files import files_below, named_path, workspace, write_json

FOLDER = Path("data/00_inputs")


def contents(folder: Path) -> list[list[Any]] | None:
    """Path within `folder`, size in bytes and time of change in ns of every file below it, sorted; None where nothing is there.

    `folder` may be a file: it is all that is recorded. Symbolic links are followed, as the directory source follows them: a
    linked file counts as what it links to.
    """
    if folder.is_file():
        return [_record(folder, folder)]
    if not folder.is_dir():
        return None
    return sorted(_record(path, folder) for path in files_below(folder, lambda _: True, lambda _: None))


def labels_elsewhere(folder: Path, kind: str) -> list[list[Any]]:
    """What `contents` says of a file, of the label files of a folder's pictures that lie beside the folder or above it.

    kind: dataset.directory.labels. Of labels that cannot be read nothing is said: the stage that reads them says why.
    """
    from balle_li.data.labels.folder import label_files

    root = Path(os.path.realpath(folder))
    try:
        return [_record(path, root) for path in label_files(kind, root) if not path.is_relative_to(root)]
    except DatasetError:
        return []


def _record(path: Path, folder: Path) -> list[Any]:
    try:
        status = path.stat()
    except OSError:  # a broken link
        status = path.lstat()
    return [os.fsencode(os.path.relpath(path, folder)).hex(), status.st_size, status.st_mtime_ns]


def main() -> None:
    """Write the four files. Exits with one line when params.yaml cannot be read."""
    root = workspace()
    try:
        parameters = read(Parameters, yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8")), "")
    except yaml.YAMLError as error:
        raise ConfigError(f"params.yaml is not valid YAML: {in_one_line(error)}") from error
    dataset = parameters.dataset
    own = dataset.directory.paths if dataset.source == "directory" else []
    models = [place for place in parameters.evaluate.baselines if place != RELEASED and not is_registered(place)]
    start = parameters.train.init_from
    weights = [] if start in (None, RELEASED, ZOO) or is_registered(start) else [start]
    sets = parameters.evaluate.extra_sets.values()
    places = {"pictures": own, "extra_sets": sets, "baselines": models, "init_from": weights}
    records = {name: {path: contents(named_path(path)) for path in paths} for name, paths in places.items()}
    for path, found in records["pictures"].items():
        if found is not None:
            found += labels_elsewhere(named_path(path), dataset.directory.labels)
    for name, record in records.items():
        write_json(root / FOLDER / f"{name}.json", record)


if __name__ == "__main__":
    try:
        main()
    except BalleLiError as error:
        sys.exit(f"Error: {error}")
