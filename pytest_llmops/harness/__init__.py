"""Everything below the hooks: the running test, its cassettes and markers, and the controller."""
