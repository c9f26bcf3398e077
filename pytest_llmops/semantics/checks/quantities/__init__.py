"""Numbers, units, dates and money, read out of a sentence."""
