"""`holdfast robustify`: an encoder that exists is made robust."""
