"""The live page: what an operator sees of a running server, and a bench to attack pictures at."""
