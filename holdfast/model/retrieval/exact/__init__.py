"""How exact search is made cheap: `screened` for few queries at once, `blockwise` for many of many neighbours."""
