"""Labels that somebody doubts, or nobody gave, before they become exemplars."""
