"""patches: data/01_raw, data/02_curated -> data/03_patches"""

from kedro.pipeline import Pipeline, node, pipeline

from pipelines.patches import nodes


def create_pipeline() -> Pipeline:
    inputs = ["raw", "curated", "params:patches", "params:compute", "params:class_weights", "params:seed"]
    return pipeline([node(nodes.cut_patches, inputs, "patch_store", name="cut_patches")])
