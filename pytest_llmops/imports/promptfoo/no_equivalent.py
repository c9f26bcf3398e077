"""The error for an assertion, or a part of it, that has no equivalent here."""


class NoEquivalent(ValueError):
    """Why an assertion is not carried, and what to do; one sentence without a full stop."""
