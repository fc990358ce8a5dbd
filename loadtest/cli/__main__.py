"""`python -m loadtest.cli`, as `viralload`."""

import sys

from loadtest.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
