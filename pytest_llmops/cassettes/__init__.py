"""Recording and replay of model answers at HTTP level, with a cassette per test."""
