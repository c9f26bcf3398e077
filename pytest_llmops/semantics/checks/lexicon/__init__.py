"""Word lists, and words without their endings."""
