"""train: data/03_patches -> data/04_models"""

from kedro.pipeline import Pipeline, node, pipeline

from pipelines.train import nodes

SETTINGS = ["params:model", "params:train", "params:lmbda", "params:class_weights", "params:seed", "parameters"]


def create_pipeline() -> Pipeline:
    return pipeline(
        [
            # The model comes first: its run is written when it is in its place.
            node(nodes.train, ["patch_store", *SETTINGS], ["model", "mlflow_run"], name="train"),
            node(nodes.forget_unfinished, ["model", "mlflow_run"], None, name="forget_unfinished"),
        ]
    )
