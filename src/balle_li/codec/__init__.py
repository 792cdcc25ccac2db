"""A trained model as a program: model folder, transforms, bitstream, `Codec`."""

__version__ = "1.0.0"
"""Of the package; pyproject.toml states it too, and model folders say with which they were made."""
