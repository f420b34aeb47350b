"""What a server is still good for when it is asked for more than it can answer."""
