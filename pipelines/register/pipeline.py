"""register: data/02_curated, data/04_models, data/05_reports/evaluation -> data/05_reports/{MODEL_CARD.md, registration.json}"""

from kedro.pipeline import Pipeline, node, pipeline

from pipelines.register import nodes


def create_pipeline() -> Pipeline:
    inputs = ["curated", "model", "evaluation", "mlflow_run", "params:register", "parameters"]
    return pipeline([node(nodes.register, inputs, ["registration", "model_card"], name="register")])
