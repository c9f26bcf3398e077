"""Reports: a run becomes text; nothing here reads or writes files."""
