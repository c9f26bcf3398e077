"""Read promptfoo configurations into an `ImportedSuite`."""
