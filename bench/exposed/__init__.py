"""What a server meets that is exposed to strangers: connections that break, overload, hostile input, greedy callers."""
