"""What others would run: each a script for an environment of its own, never imported."""
