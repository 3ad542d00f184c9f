"""Modules of `evaluate`. Each folder is a Space as it stands, so it imports nothing from here."""
