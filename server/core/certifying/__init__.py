"""Certificates that cost forward passes of their own."""
