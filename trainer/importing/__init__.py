"""`holdfast import`: the bundle of an encoder that somebody else trained."""
