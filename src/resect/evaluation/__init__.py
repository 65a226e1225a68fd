"""What a plan changes: questions, metrics, comparisons, calibration, perplexity, open-ended answers, side effects."""
