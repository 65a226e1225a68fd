"""What a model is asked and what it reads: tasks, corpora, documents, plain text, language identification. No torch."""
