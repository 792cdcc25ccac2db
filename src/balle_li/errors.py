"""The failures a user can act on. Each message is one line: what is wrong, and what to do about it."""


class BalleLiError(Exception):
    """Root of the package's own errors; command lines print its message alone and exit with 1."""


class ConfigError(BalleLiError):
    """A parameter is unknown, of the wrong type or out of range."""


class DatasetError(BalleLiError):
    """Pictures or labels are missing, unreadable or not what was asked for."""


class StageError(BalleLiError):
    """A stage's input is missing, unfinished or belongs to another version of the project."""


class TrainingError(BalleLiError):
    """Training cannot start or cannot go on."""


class BitstreamError(BalleLiError):
    """A compressed stream is damaged, truncated or was made by another model."""


class TrackingError(BalleLiError):
    """MLflow's database or registry does not hold what was asked for."""
