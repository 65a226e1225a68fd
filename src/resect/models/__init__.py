"""A Hugging Face model behind one interface: families, anatomy, loading, encoding, batching, forward passes, generation, hooks."""
