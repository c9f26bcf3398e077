"""Measure the effect of each line of a prompt: leave out one rule at a time, run the cases again, decide (``llmops prompts ledger``)."""
