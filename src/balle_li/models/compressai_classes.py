"""CompressAI's classes that the models build on. Importing them takes seconds, so import this module late."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # CompressAI still scripts a model with torch.jit at import
    from compressai.entropy_models import EntropyBottleneck
    from compressai.layers import GDN

__all__ = ["GDN", "EntropyBottleneck"]
