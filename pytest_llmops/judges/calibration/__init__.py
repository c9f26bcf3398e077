"""Calibration: how far a judge agrees with human labels, and canaries. `pytest_llmops.judges` exports the public names."""
