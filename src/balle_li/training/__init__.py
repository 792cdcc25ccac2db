"""Training: from the patch store to a model folder, in a run that survives being stopped."""

from balle_li.errors import need

need(__name__, "workflow", "lightning_fabric", "filelock")
