"""What models made of the curated pictures, in FiftyOne: figures, reconstructions and heatmaps beside the originals.

Every model has fields of its own: `<model>.bpp`, `<model>.psnr` and so on to sort and filter by, `<model>_reconstruction`
to look at in place of the original (the App's "media field"), and a heatmap for each map. Saved views list the pictures
from the worst on.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balle_li.boxes import EXIF_TURNS, upright_turns
from balle_li.datasets.fiftyone_database import connect

FIGURES = ("bpp", "psnr", "ms_ssim", "psnr_inside", "psnr_outside", "compression_ratio")
MAPS = ("bits", "importance")
VIEWS = {
    "worst inside boxes": ("psnr_inside", False),
    "worst PSNR": ("psnr", False),
    "worst MS-SSIM": ("ms_ssim", False),
    "most bits": ("bpp", True),
}
"""What a saved view is called, the figure it sorts by, and whether the largest comes first."""


@dataclass(frozen=True)
class Outcome:
    """What a model made of one picture.

    figures: some of FIGURES; PSNR in dB. reconstruction: a picture file. maps: by a name of MAPS, float32
    `(rows, columns)` that are stretched over the picture. Pictures and maps are in the orientation in which a browser
    shows the original, see `as_shown`.
    """

    image_id: str
    figures: Mapping[str, float | None]
    reconstruction: Path
    maps: Mapping[str, NDArray[np.float32]]


def as_shown(upright: NDArray[Any], orientation: int, rotation: float) -> NDArray[Any]:
    """An upright picture or map `(H, W, …)` as a browser shows its original, which knows EXIF, not Open Images' Rotation."""
    if not rotation % 360:
        return upright
    stored = np.rot90(upright, -upright_turns(orientation, rotation)[1])
    mirror, turns = EXIF_TURNS.get(orientation, (False, 0))
    return np.rot90(stored[:, ::-1] if mirror else stored, turns)


def field_of(model: str) -> str:
    """The name of a model's fields: `balle (N=64, lmbda=0.01)` has `balle_N_64_lmbda_0_01`."""
    return re.sub(r"\W+", "_", model).strip("_")


def has_results(dataset: Any, model: str, key: str) -> bool:
    """Whether the dataset holds the results of `model` that were added with this key."""
    field = dataset.get_field(field_of(model))
    return field is not None and field.description == _description(model, key)


def add_results(dataset: Any, model: str, key: str, results: Iterable[Outcome]) -> None:
    """Give the pictures of `dataset` the results of `model`, in place of earlier ones, and save views of the worst.

    key: tells one set of results from another; see `has_results`.
    """
    fiftyone = connect()
    own = field_of(model)
    known = {result.image_id: result for result in results}  # whatever fails, fails before the earlier ones are gone
    remove_results(dataset, model)
    dataset.add_sample_field(own, fiftyone.EmbeddedDocumentField, embedded_doc_type=fiftyone.DynamicEmbeddedDocument)
    for name in FIGURES:
        dataset.add_sample_field(f"{own}.{name}", fiftyone.FloatField)
    figures = {
        image_id: fiftyone.DynamicEmbeddedDocument(**{name: result.figures.get(name) for name in FIGURES})
        for image_id, result in known.items()
    }
    dataset.set_values(own, figures, key_field="image_id")
    media = f"{own}_reconstruction"
    dataset.add_sample_field(media, fiftyone.StringField)
    paths = {image_id: str(result.reconstruction.resolve()) for image_id, result in known.items()}
    dataset.set_values(media, paths, key_field="image_id")
    for name in MAPS:
        maps = {image_id: result.maps[name] for image_id, result in known.items() if name in result.maps}
        if maps:
            document = fiftyone.Heatmap
            dataset.add_sample_field(f"{own}_{name}", fiftyone.EmbeddedDocumentField, embedded_doc_type=document)
            heatmaps = {image_id: _heatmap(fiftyone, values) for image_id, values in maps.items()}
            dataset.set_values(f"{own}_{name}", heatmaps, key_field="image_id")
    _save_views(dataset, model)
    dataset.app_config.media_fields = [*dataset.app_config.media_fields, media]
    dataset.save()
    field = dataset.get_field(own)  # last: where the key is, everything is
    field.description = _description(model, key)
    field.save()


def remove_results(dataset: Any, model: str) -> None:
    """Take away the fields and views of `model`, as far as they are there."""
    own = field_of(model)
    media = f"{own}_reconstruction"
    fields = [name for name in (own, media, *(f"{own}_{name}" for name in MAPS)) if dataset.has_sample_field(name)]
    if fields:
        dataset.delete_sample_fields(fields)
    for name in VIEWS:
        if dataset.has_saved_view(f"{model}: {name}"):
            dataset.delete_saved_view(f"{model}: {name}")
    dataset.app_config.media_fields = [name for name in dataset.app_config.media_fields if name != media]
    dataset.save()


def _save_views(dataset: Any, model: str) -> None:
    for name, (figure, largest_first) in VIEWS.items():
        path = f"{field_of(model)}.{figure}"
        view = dataset.exists(path).sort_by(path, reverse=largest_first)
        order = "the largest" if largest_first else "the lowest"
        dataset.save_view(f"{model}: {name}", view, description=f"By {figure}, {order} first")


def _heatmap(fiftyone: Any, values: NDArray[np.float32]) -> Any:
    return fiftyone.Heatmap(map=values, range=[min(0.0, float(values.min())), max(float(values.max()), 1e-6)])


def _description(model: str, key: str) -> str:
    return f"What {model} made of the picture ({key})"
