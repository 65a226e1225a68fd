"""CRISPR: bias neurons (arXiv:2311.09627)."""
