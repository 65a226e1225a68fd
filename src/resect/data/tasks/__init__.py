"""Tasks: one module for each benchmark, and task files of the user's own."""
