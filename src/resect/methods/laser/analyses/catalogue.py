"""The analyses of a finished run: each is a module with a function from a `Study` to JSON values, whose keys are those of analyses.json.

They know a model, a plan and a task; they do not know files or terminals.
"""

#: The analyses in the order in which they run, the quickest first, and what each computes.
SENTENCES = {
    "spectra": "Singular values, effective rank and noise edge of every matrix that was searched.",
    "perplexity": "Perplexity of plain text with a sliding window, before and after.",
    "temperature": "The temperature that repairs the calibration, before and after.",
    "paraphrases": "Facts that are right in all of their wordings, before and after.",
    "frequency": "Accuracy by how often a fact occurs in a corpus (--counts or --corpus), before and after.",
    "growth": "Whether the set of right answers only grows with the reduction.",
    "reduction": "How far the plan's matrix can be reduced: up to nothing, then without its block and its layer.",
    "components": "Answers with the smallest components of the plan's matrix alone.",
    "loss": "The loss of every reduction that was searched, no candidate stopped early.",
}
