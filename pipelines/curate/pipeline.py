"""curate: data/01_raw -> data/02_curated"""

from kedro.pipeline import Pipeline, node, pipeline

from pipelines.curate import nodes


def create_pipeline() -> Pipeline:
    return pipeline([node(nodes.curate, ["raw", "params:curate", "params:seed"], "curated", name="curate")])
