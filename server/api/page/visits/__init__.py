"""Who asks for something of the page: sessions, forms, and what happens around every request."""
