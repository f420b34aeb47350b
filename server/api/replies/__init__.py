"""Replies that may be long, built a piece at a time."""
