"""How long one piece of work holds up the event loop."""
