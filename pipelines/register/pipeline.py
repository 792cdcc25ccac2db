"""register: data/02_curated, data/04_models, data/05_reports/evaluation -> data/05_reports/{MODEL_CARD.md, registration.json}"""

from kedro.pipeline import Pipeline, node, pipeline

from pipelines.register import nodes


def create_pipeline() -> Pipeline:
    settings = ["mlflow_run", "params:register", "parameters"]
    return pipeline(
        [
            node(
                nodes.write_model_card, ["curated", "model", "evaluation", *settings], "model_card", name="model_card"
            ),
            node(nodes.register, ["model", "evaluation", "model_card", *settings], "registration", name="register"),
        ]
    )
