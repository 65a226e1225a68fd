"""One schema for every file of a run folder."""
