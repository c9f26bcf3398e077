"""The lint of assertions (``--llm-lint``): each is evaluated again on altered answers, to find those that cannot fail."""
