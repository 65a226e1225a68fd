"""LASER: layer-selective rank reduction (arXiv:2312.13558)."""
