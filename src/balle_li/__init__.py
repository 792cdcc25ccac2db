"""Balle-Li: learned image compression that spends its bits where people look.

>>> from PIL import Image
>>> from balle_li import Box, Codec
>>> codec = Codec.load()
>>> data = codec.compress(Image.open("photo.jpg"), quality=60, boxes=[Box(0.1, 0.2, 0.5, 0.9, weight=1.5)])
>>> codec.decompress(data).save("photo.png")

Importing the package lets Pillow open and save `.bli` files; torch is loaded with the first codec.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from PIL import Image as _Image

from balle_li.codec import __version__ as __version__

if TYPE_CHECKING:
    from balle_li.boxes import Box
    from balle_li.codec.codec import Codec
    from balle_li.codec.options import EncodeOptions
    from balle_li.errors import BalleLiError, BitstreamError

__all__ = ["BalleLiError", "BitstreamError", "Box", "Codec", "EncodeOptions", "__version__"]

_PLUGIN = "balle_li.interfaces.pillow_plugin"
_HOMES = {
    "BalleLiError": "balle_li.errors",
    "BitstreamError": "balle_li.errors",
    "Box": "balle_li.boxes",
    "Codec": "balle_li.codec.codec",
    "EncodeOptions": "balle_li.codec.options",
}


def _open_with_pillow(*arguments: Any) -> Any:
    return import_module(_PLUGIN).BliImageFile(*arguments)


def _save_with_pillow(*arguments: Any) -> None:
    import_module(_PLUGIN).save(*arguments)


# The plugin is imported with the first .bli file: processes that never see one pay nothing for it.
_Image.register_open("BLI", _open_with_pillow, lambda prefix: prefix.startswith(b"\xbaBLI"))
_Image.register_save("BLI", _save_with_pillow)
_Image.register_extension("BLI", ".bli")
_Image.register_mime("BLI", "image/x-balle-li")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
