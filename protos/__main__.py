"""Regenerate the stubs: python -m protos (needs the 'dev' extra)."""

import sys

from protos.generate import ROOT, GenerationError, generate

if __name__ == "__main__":
    try:
        for path in generate():
            print(ROOT / path)
    except GenerationError as error:
        sys.exit(str(error))
