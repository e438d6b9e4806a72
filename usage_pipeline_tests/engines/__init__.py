"""The same answers from the same lake by other engines: the marts' own SQL, transpiled, compared row for row."""
