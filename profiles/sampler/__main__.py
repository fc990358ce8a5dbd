"""`python -m profiles.sampler FOLDER`: the sampler's process."""

import sys

from profiles.sampler.main import main

if __name__ == "__main__":
    sys.exit(main())
