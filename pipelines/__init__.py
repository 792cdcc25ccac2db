"""The stages of the workflow, a folder each: `nodes.py` adapts the library, `pipeline.py` wires it."""
