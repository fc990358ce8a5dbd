"""`viralload doctor`: what this machine can do, and what would trouble a run on it."""

import argparse
import sys

from loadtest.cli.results import as_json
from loadtest.doctor.diagnosis import diagnose
from loadtest.doctor.text import doctor_text
from loadtest.system.terminal import show


def call(options: argparse.Namespace, _command: list[str]) -> int:
    """The exit code of the verb; `options` are its parsed words, `command` all of them."""
    sys.stderr.write("measuring, a few seconds a device\n")
    found = diagnose(device=options.device, threads=options.threads, runs=options.out)
    if options.json:
        sys.stdout.write(as_json(found))
    else:
        show(doctor_text(found))
    return 1 if found.checkup.failure else 0
