"""Labelled sets that an encoder learns from without their images being in memory."""
