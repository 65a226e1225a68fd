"""What can be changed in a model, and its exact undo: neurons, matrices, plans, controls, decompositions."""
