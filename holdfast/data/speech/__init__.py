"""Recordings of speakers as labelled pictures, and what makes training sets of them: sessions in simulated channels, noise."""
