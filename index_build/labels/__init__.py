"""Labels that somebody doubts, before they become exemplars."""
