"""MLflow: the run of an experiment and the registry of models. Nothing else in the project imports mlflow."""
