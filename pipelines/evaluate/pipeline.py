"""evaluate: data/01_raw, data/02_curated, data/04_models -> data/05_reports/evaluation"""

from kedro.pipeline import Pipeline, node, pipeline

from pipelines.evaluate import nodes


def create_pipeline() -> Pipeline:
    settings = ["params:evaluate", "params:train.tune", "params:class_weights", "params:compute", "parameters"]
    inputs = ["raw", "curated", "model", "mlflow_run", *settings]
    return pipeline([node(nodes.evaluate, inputs, "evaluation", name="evaluate")])
