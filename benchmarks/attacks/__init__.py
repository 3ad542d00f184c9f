"""One file for each kind of attack. Each has `cases()`; `benchmarks/attack.py` runs them all."""
