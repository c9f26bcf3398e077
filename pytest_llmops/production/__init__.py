"""What comes back from production: canary events, feedback of users, exported traces, and the review queue."""
