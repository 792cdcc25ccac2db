"""Open Images V7: its metadata and pictures on disk, the selection, and FiftyOne's loader for what was selected."""
