"""Plain English prose, written for this package and free like it: texts.py reads it."""
