"""Kedro's settings: parameters come from params.yaml at the root, failures end in one line, wherever one stands."""

import os
import warnings
from pathlib import Path
from typing import Any

import yaml
from kedro.config import OmegaConfigLoader
from kedro.framework.project import LOGGING
from omegaconf import OmegaConf

from balle_li.hooks import OneLineErrors, OneWriter
from balle_li.session import OneLineSession

# Kedro itself finds it from the project's root only.
if "KEDRO_LOGGING_CONFIG" not in os.environ:
    LOGGING.configure(yaml.safe_load((Path(__file__).parents[2] / "conf" / "logging.yml").read_text(encoding="utf-8")))

# Both spellings, --pipeline and --pipelines, are meant to work here.
warnings.filterwarnings("ignore", message="Option '--pipeline' is deprecated")


class ParamsYamlConfigLoader(OmegaConfigLoader):
    """Reads the parameters from params.yaml beside conf/, the file that DVC reads too.

    A symbolic link from conf/ to it would not do: in DVC's temporary workspaces Kedro takes it for a hidden file.
    """

    def __getitem__(self, key: str) -> Any:
        if key != "parameters" or key in self:
            return super().__getitem__(key)
        values = OmegaConf.load(Path(self.conf_source).parent / "params.yaml")
        merged = OmegaConf.merge(values, self.runtime_params or {})
        return OmegaConf.to_container(merged, resolve=True)


CONFIG_LOADER_CLASS = ParamsYamlConfigLoader
SESSION_CLASS = OneLineSession
HOOKS = (OneLineErrors(), OneWriter())
