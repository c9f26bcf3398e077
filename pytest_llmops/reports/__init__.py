"""Reports of a run for people and other programs: one module a format, or a family of formats."""
