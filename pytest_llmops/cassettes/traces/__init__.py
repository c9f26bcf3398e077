"""Trace tapes: what an exported trace holds of a run, as a file from which a test replays the run."""
