"""Balle-Li: learned image compression that spends its bits where people look.

Importing the package lets Pillow open and save `.bli` files; torch is loaded when the first one is.
"""

from balle_li.codec.pillow_plugin import register as _register_with_pillow

__version__ = "0.1.0"

_register_with_pillow()
