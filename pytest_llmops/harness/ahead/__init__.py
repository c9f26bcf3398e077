"""Live calls of many tests at once (`--llm-concurrency`): a phase before the tests that asks what they will ask.

The phase runs tests without reporting them, collects the requests that nothing answers, sends them together and keeps
the answers apart from the cassettes. Then pytest runs every test once, as always, and its tape claims those answers.
What goes wrong in the phase costs time or a call, never a result: a test whose answers are missing asks for itself.
"""
