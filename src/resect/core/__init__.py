"""The vocabulary that all packages share: errors, addresses, scores, comparisons, number formats, files, execution. No torch."""
