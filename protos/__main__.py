"""python -m protos writes the stubs anew; python -m protos --lint checks the .proto files. Both need the 'dev' extra."""

import sys

from holdfast.protos import lint
from holdfast.protos.generate import ROOT, GenerationError, generate

if __name__ == "__main__":
    if sys.argv[1:] == ["--lint"]:
        sys.exit(lint.main())
    if sys.argv[1:]:
        sys.exit(f"{__doc__}")
    try:
        for path in generate():
            print(ROOT / path)
    except GenerationError as error:
        sys.exit(str(error))
