"""Tasks, corpora, documents, plain texts, records, and language identification. No torch."""
