"""Analyses of a finished run that any method may offer."""
