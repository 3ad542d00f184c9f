"""The metric `zero_shot_accuracy`."""
