"""The compression models, one a file; `registry.build` makes one by name."""
