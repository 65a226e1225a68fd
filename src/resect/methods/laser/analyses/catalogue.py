"""What can be found out about a run that is finished: each analysis a module, each a function from a `Study` to plain JSON values.

They know a model, a plan and a task; no method, no file and no terminal. Their keys are those of analyses.json.
"""

#: The analyses in the order in which they are made, the quickest first, and what each tells.
SENTENCES = {
    "spectra": "Singular values, effective rank and noise edge of every matrix that was searched.",
    "perplexity": "Perplexity of plain text with a sliding window, before and after.",
    "temperature": "The temperature that repairs the calibration, before and after.",
    "paraphrases": "Facts that are right in all of their wordings, before and after.",
    "frequency": "Accuracy by how often a fact occurs in a corpus (--counts or --corpus), before and after.",
    "growth": "Whether the right set only grows with the reduction.",
    "reduction": "How far the plan's matrix can be reduced: up to nothing, then without its block and its layer.",
    "components": "What the smallest components of the plan's matrix answer.",
    "loss": "The loss of every reduction that was searched, nobody given up.",
}
