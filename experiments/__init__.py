"""The experiments of docs/results.md: `python -m experiments --help`."""
