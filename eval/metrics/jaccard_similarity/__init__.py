"""The metric `jaccard_similarity`."""
