"""What callers send as recordings: windows, and answers that they come to together."""
