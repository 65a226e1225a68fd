"""Tasks: one file for each built-in set, and task files of one's own."""
