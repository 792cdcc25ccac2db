"""What people meet the codec by: the command line and Pillow; and which model they mean.

They may name a folder, a registry's address, or nothing.
"""

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from balle_li.codec.bitstream import Stream
from balle_li.errors import BitstreamError
from balle_li.files import RELEASED_MODEL, project_home

if TYPE_CHECKING:
    from balle_li.codec.codec import Codec

VARIABLE = "BALLE_LI_MODEL"
TRAINED = Path("data", "04_models", "model")


def model_folder(name: str | Path | None = None) -> Path:
    """The model folder for `name`: a folder, a registry address such as models:/balle-li@champion, or None for the default.

    The default is what the environment variable BALLE_LI_MODEL names, else the model that ships with the package.
    Raises TrackingError when the registry does not have it.
    """
    name = os.fspath(name or os.environ.get(VARIABLE, ""))
    if not name:
        return RELEASED_MODEL
    if name.startswith("models:/"):
        from balle_li.tracking.registry import model_path

        return model_path(name)
    return Path(name)


@functools.lru_cache(maxsize=4)
def default_codec(name: str | Path | None = None, device: str = "auto") -> "Codec":
    """The codec of `model_folder(name)`, loaded once. Raises BalleLiError as loading does."""
    from balle_li.codec.codec import Codec

    return Codec.load(model_folder(name), device)


def decoding_codec(data: bytes, name: str | Path | None = None, device: str = "auto") -> "Codec":
    """The codec that made the stream `data`: that of `name`, or of the default model and this project's trained one.

    Raises BitstreamError: the stream is damaged, or of none of them; BalleLiError as loading does.
    """
    if name is not None:
        return default_codec(name, device)
    fingerprint = Stream.unpack(data).fingerprint
    trained = project_home() / TRAINED
    known = []
    for place in [None, str(trained)] if (trained / "model.json").is_file() else [None]:
        codec = default_codec(place, device)
        if codec.fingerprint == fingerprint:
            return codec
        known.append(f"{codec.name} {codec.fingerprint.hex()}")
    raise BitstreamError(
        f"the stream was made by model {fingerprint.hex()}, not by {' or '.join(known)}; "
        f"name its folder with --model or {VARIABLE}"
    )
