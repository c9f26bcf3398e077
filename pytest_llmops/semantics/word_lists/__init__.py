"""Word lists of the checks and of grounding: text files, and their reader."""
