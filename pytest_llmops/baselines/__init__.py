"""A committed baseline: the scores of a run's single trials, and whether later runs got worse."""
