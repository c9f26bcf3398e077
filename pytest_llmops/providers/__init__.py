"""Models and embedders, with a module for each vendor."""
