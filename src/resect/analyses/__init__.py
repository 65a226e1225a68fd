"""What can be found out about a run that is finished: each analysis a module, each a function from a `Study` to plain JSON values.

They know a model, a plan and a task; no method, no file and no terminal. Their keys are those of analyses.json.
"""
