"""What doubt and probes cost, and whether their figures hold."""
