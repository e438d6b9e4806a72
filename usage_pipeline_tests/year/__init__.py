"""A simulated year: daily runs over a service that fails, stays away and restates, by processes that are killed."""
