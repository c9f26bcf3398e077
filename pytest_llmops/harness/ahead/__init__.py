"""Live calls of many tests at once (`--llm-concurrency`): another process makes the calls of the tests before the tests run.

That process runs tests without reporting them, collects the requests that nothing answers, sends them together, and keeps the answers
apart from the cassettes. Then pytest runs every test once, as always, and its tape claims those answers. So nothing that a silent run
changes in memory reaches the run that counts, and an error in it costs time or a call, never a result: a test whose answers are
missing makes its own calls.
"""
