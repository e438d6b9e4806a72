"""One .sql file = one mart = one asset, and the loader that runs them."""
