"""Measure CLIP models: `evaluate` metrics, tasks, and what people read of them."""
