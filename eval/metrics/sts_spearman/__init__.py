"""The metric `sts_spearman`."""
