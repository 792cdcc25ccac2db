"""Training: from the patch store to a model folder, in a run that survives being stopped."""
