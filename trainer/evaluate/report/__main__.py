import sys

from trainer.evaluate.report.cli import main

if __name__ == "__main__":
    sys.exit(main())
