"""What was measured, kept in a file, summed up, and shown."""
