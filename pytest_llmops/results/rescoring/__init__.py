"""Score the stored outputs of a run again with another judge or threshold, and compare. No I/O."""
