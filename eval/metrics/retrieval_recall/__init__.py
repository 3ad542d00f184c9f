"""The metric `retrieval_recall`."""
