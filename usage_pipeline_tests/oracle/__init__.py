"""The model-based oracle: random histories of the service and of runs, checked after every step (`python -m` it)."""
