"""Tables, as text, CSV, LaTeX and HTML."""
