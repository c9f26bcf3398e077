"""A finished run: records, totals and comparisons. No I/O."""
