"""Balle-Li: learned image compression that spends its bits where people look."""

__version__ = "0.1.0"
