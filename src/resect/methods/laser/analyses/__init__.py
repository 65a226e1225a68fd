"""Analyses of a finished run of LASER."""
