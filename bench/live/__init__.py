"""Measurements of a server whose model changes while it answers."""
