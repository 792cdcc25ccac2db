"""Which runs are compared: the section `compare` of params.yaml."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CompareConfig:
    """Parameters of the pipeline compare."""

    experiment: str
    """The MLflow experiment whose runs are compared."""
    runs: list[str]
    """Ids or names of runs, or starts of them; empty: every finished run that has an evaluation."""
    filter: str
    """MLflow's search filter on top, such as tags.sweep = 'first'; empty: none."""
