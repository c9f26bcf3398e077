"""Below the hooks: one running test, its cassettes and markers, and the controller."""
