"""report: data/05_reports/evaluation -> data/05_reports/report"""

from kedro.pipeline import Pipeline, node, pipeline

from pipelines.report import nodes


def create_pipeline() -> Pipeline:
    return pipeline([node(nodes.report, ["evaluation", "mlflow_run", "parameters"], "report", name="report")])
