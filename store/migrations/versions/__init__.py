"""One module per step; each runs the .sql file of its number."""
