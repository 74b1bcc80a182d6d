"""The tidy table of results and queries on it."""
