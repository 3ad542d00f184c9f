"""The metric `multiple_choice_accuracy`."""
