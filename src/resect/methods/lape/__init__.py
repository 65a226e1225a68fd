"""LAPE: language-specific units (arXiv:2402.16438)."""
