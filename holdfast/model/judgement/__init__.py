"""How far an answer can be trusted, beside its credibility: each measure one function of arrays, in a module of its own.

None of them makes an answer robust. They say how much it would take to overturn one, or how unusual an image is, each under the
assumptions that its module states.
"""
