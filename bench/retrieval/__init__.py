"""Search of 50 thousand to 10 million exemplars: what it costs, what memory it takes, whether the vote stays the same."""
