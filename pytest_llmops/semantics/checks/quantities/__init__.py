"""Numbers, units, dates and money of a sentence."""
