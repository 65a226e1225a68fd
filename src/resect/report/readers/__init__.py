"""Files of a run folder read back for display."""
