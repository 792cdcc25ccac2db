"""One project that the tests of the workflow share."""

import pytest
from small_project import SMALL, Project, make_project


@pytest.fixture(scope="package")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which `dvc repro` has run once, on the embedded sample."""
    project = make_project(tmp_path_factory.mktemp("workflow") / "project", SMALL)
    project.run("dvc repro")
    return project
