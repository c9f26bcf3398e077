"""What each line of a prompt earns: leave out one rule at a time, ask the cases again, decide (``llmops prompts ledger``)."""
