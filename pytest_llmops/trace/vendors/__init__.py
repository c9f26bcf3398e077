"""The built-in wire formats, a module each; a new one also has a line in `routes.BUILT_IN`."""
