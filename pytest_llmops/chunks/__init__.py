"""What a chunker made of its source, checked: nothing lost, nothing invented, nothing torn apart."""
