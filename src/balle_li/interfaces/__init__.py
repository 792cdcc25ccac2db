"""What people meet the codec by: the command line and Pillow; and which model they mean.

They may name a folder, a registry's address, or nothing.
"""

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from balle_li.codec.bitstream import Stream
from balle_li.errors import BalleLiError, BitstreamError
from balle_li.files import TUNES, project_home, released_model

if TYPE_CHECKING:
    from balle_li.codec.codec import Codec

VARIABLE = "BALLE_LI_MODEL"
TRAINED = Path("data", "04_models", "model")


def model_folder(name: str | Path | None = None, tune: str | None = None) -> Path:
    """The model folder for `name`: a folder, a registry address such as models:/balle-li@champion, or None for the default.

    The default is what the environment variable BALLE_LI_MODEL names, else a model that ships with the package. tune: which
    of those; where it is given, BALLE_LI_MODEL is not looked at.
    Raises TrackingError when the registry does not have it, BalleLiError: no such tune, or a name beside it.
    """
    if name and tune is not None:
        raise BalleLiError("give a model or a tune, not both: a model is tuned already")
    name = os.fspath(name or "")
    if tune is None:
        name = name or os.environ.get(VARIABLE, "")
    if not name:
        return released_model(tune)
    if name.startswith("models:/"):
        from balle_li.tracking.registry import model_path

        return model_path(name)
    return Path(name)


@functools.lru_cache(maxsize=4)
def default_codec(name: str | Path | None = None, device: str = "auto", tune: str | None = None) -> "Codec":
    """The codec of `model_folder(name, tune)`, loaded once. Raises BalleLiError as loading does."""
    from balle_li.codec.codec import Codec

    return Codec.load(model_folder(name, tune), device)


def decoding_codec(data: bytes, name: str | Path | None = None, device: str = "auto") -> "Codec":
    """The codec that made the stream `data`: that of `name`, else of the default model, the project's trained one, or those that
    ship.

    Raises BitstreamError: the stream is damaged, or of none of them; BalleLiError as loading does.
    """
    if name is not None:
        return default_codec(name, device)
    fingerprint = Stream.unpack(data).fingerprint
    trained = project_home() / TRAINED
    places: list[tuple[str | None, str | None]] = [(None, None)]
    places += [(str(trained), None)] if (trained / "model.json").is_file() else []
    # Without the variable the default is the first of them.
    places += [(None, tune) for tune in (TUNES if os.environ.get(VARIABLE) else TUNES[1:])]
    known = []
    for place, tune in places:
        codec = default_codec(place, device, tune)
        if codec.fingerprint == fingerprint:
            return codec
        known.append(f"{codec.name} {codec.fingerprint.hex()}")
    raise BitstreamError(
        f"the stream was made by model {fingerprint.hex()}, not by {' or '.join(dict.fromkeys(known))}; "
        f"name its folder with --model or {VARIABLE}"
    )
