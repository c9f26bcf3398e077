"""Compare the meaning of texts offline: similarity, checks, grounding."""
