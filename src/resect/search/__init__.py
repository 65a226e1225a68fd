"""Which candidate edit wins, with the least work."""
