"""How well an encoder knows speakers: closed-set identification, verification across channels, and flips under noise."""
