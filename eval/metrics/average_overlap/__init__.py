"""The metric `average_overlap`."""
