"""download: dataset.source -> data/01_raw"""

from kedro.pipeline import Pipeline, node, pipeline

from pipelines.download import nodes


def create_pipeline() -> Pipeline:
    return pipeline([node(nodes.download, ["params:dataset", "params:seed"], "raw", name="download")])
