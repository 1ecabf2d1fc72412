"""The paper's experiment on a folder of pictures, as a command: `python -m csg.evaluation`."""

import sys

from .runner.main import main

if __name__ == "__main__":
    sys.exit(main())
