"""Check the output of a chunker against its source: nothing lost, nothing invented, nothing cut apart."""
