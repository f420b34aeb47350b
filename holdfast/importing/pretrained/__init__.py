"""Image encoders that Hugging Face's transformers saved: their directory, their preprocessing, and the tower that is taken."""
