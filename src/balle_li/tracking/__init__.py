"""MLflow: the run of an experiment and the registry of models. Nothing else in the project imports mlflow."""

from balle_li.errors import need

need(__name__, "workflow", "mlflow", "filelock")
