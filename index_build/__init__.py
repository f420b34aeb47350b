"""Completing a bundle with its exemplars: `python -m index_build BUNDLE`, or `build_index` from Python."""

from holdfast.index_build.build import build_index
from holdfast.index_build.options import IndexBuildError

__all__ = ["IndexBuildError", "build_index"]
