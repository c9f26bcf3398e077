"""What a text means, offline: similarity, checks, grounding."""
