"""Whether contexts entail the claims of an answer, and whether they have to do with a question."""
