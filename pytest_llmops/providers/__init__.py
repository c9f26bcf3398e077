"""Models and embedders: one vendor, one file."""
