"""Recording and replay of what models answer, at HTTP level, one cassette a test."""
