"""Locust without its user's own settings, by `python -m loadtest.system.own_locust WORDS`.

Locust reads `~/.locust.conf`, `locust.conf` and `pyproject.toml` of the working folder, and
LOCUST_* of the environment, before its command line. A run's load is its scenario's alone, so here
none of them is read (`loadtest.system.child_environment` leaves out the environment). It also puts
the working folder before all packages in Python's path: so that is the run folder, which holds no
code.
"""

import os
from pathlib import Path
from typing import Any

from locust.argument_parser import LocustArgumentParser
from locust.main import main


def _no_files(_parser: Any, _words: Any) -> list[Any]:
    """Where configargparse would open a user's settings."""
    return []


if __name__ == "__main__":
    os.chdir(Path(os.environ["VIRALLOAD_JOB"]).parent)
    LocustArgumentParser._open_config_files = _no_files
    main()  # type: ignore[no-untyped-call]
