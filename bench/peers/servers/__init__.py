"""The same bundle behind other servers: one module each, run by the Python of its own environment.

Every module has `serve(options)`, which does not return. None is imported by the others or by the benchmark: what they import
is installed nowhere else.
"""
