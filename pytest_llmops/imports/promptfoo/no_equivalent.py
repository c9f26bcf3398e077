"""The error of a part of an assertion that has no equal."""


class NoEquivalent(ValueError):
    """Why an assertion is not carried, and what to do; one sentence without a full stop."""
