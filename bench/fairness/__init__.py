"""What one caller feels of others."""
