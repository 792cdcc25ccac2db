"""Which of several processes this is, from the environment that torchrun sets. Imports nothing heavy."""

import os


def rank() -> int:
    """This process's number among all that torchrun started, on every machine; 0 without torchrun."""
    return int(os.environ.get("RANK", 0))


def world_size() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", 1))
