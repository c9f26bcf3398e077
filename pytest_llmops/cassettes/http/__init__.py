"""HTTP interception, one module per client."""
