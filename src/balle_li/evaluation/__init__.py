"""Models and classical codecs, measured through real files."""

from balle_li.errors import need

need(__name__, "workflow", "pandas", "pyarrow")
