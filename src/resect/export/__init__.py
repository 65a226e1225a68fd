"""A plan written into a checkpoint, with its model card, and verified."""
