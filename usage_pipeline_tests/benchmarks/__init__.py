"""Side-by-side measurements of whole processes; nothing here is a test, and nothing is timed in the suite."""
