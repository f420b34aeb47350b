"""python -m protos writes the stubs anew; python -m protos --lint checks the .proto files. Both need the 'dev' extra."""

import sys

from holdfast.exit_status import FAILED, REFUSED
from holdfast.protos import lint
from holdfast.protos.generate import ROOT, GenerationError, generate

if __name__ == "__main__":
    if sys.argv[1:] == ["--lint"]:
        sys.exit(lint.main())
    if sys.argv[1:]:
        print(__doc__, file=sys.stderr)
        sys.exit(REFUSED)
    try:
        for path in generate():
            print(ROOT / path)
    except GenerationError as error:
        print(f"protos: {error}", file=sys.stderr)
        sys.exit(FAILED)
