"""Objectives that compare views of an image with those of others, and what they share."""
