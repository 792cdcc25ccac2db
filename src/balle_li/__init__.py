"""Balle-Li: learned image compression that spends its bits where people look.

Importing the package lets Pillow open and save `.bli` files; torch is loaded when the first one is.
"""

from balle_li.interfaces.pillow_plugin import register as _register_with_pillow
from balle_li.version import __version__ as __version__

_register_with_pillow()
