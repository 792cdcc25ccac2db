"""compare: runs in MLflow -> data/05_reports/comparison"""

from kedro.pipeline import Pipeline, node, pipeline

from pipelines.compare import nodes


def create_pipeline() -> Pipeline:
    return pipeline([node(nodes.compare, "params:compare", "comparison", name="compare")])
