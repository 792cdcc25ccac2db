"""train: data/03_patches -> data/04_models"""

from kedro.pipeline import Pipeline, node, pipeline

from pipelines.train import nodes

SETTINGS = ["params:model", "params:train", "params:lmbda", "params:class_weights", "params:seed", "parameters"]


def create_pipeline() -> Pipeline:
    return pipeline(
        [
            node(nodes.open_run, ["patch_store", *SETTINGS], "mlflow_run", name="open_run"),
            node(nodes.train, ["patch_store", "mlflow_run", *SETTINGS], "model", name="train"),
            node(nodes.forget_unfinished, ["model", "mlflow_run"], None, name="forget_unfinished"),
        ]
    )
