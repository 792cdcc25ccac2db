"""register: data/04_models, data/05_reports/evaluation -> data/05_reports/registration.json"""

from kedro.pipeline import Pipeline, node, pipeline

from pipelines.register import nodes


def create_pipeline() -> Pipeline:
    inputs = ["model", "evaluation", "mlflow_run", "params:register", "parameters"]
    return pipeline([node(nodes.register, inputs, "registration", name="register")])
