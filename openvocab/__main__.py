"""`python -m openvocab`: the command line."""

import sys

from openvocab.ui.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
