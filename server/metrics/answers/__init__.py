"""Metrics of what is said of answers beside their labels."""
