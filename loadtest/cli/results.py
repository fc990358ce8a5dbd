"""What a verb found, on stdout: as text for people, or as JSON."""

import argparse
import contextlib
import sys
from collections.abc import Iterator

import msgspec

from loadtest.errors import ViralloadError
from loadtest.system import output
from loadtest.system.terminal import show
from profiles import edge
from profiles.record.folder import RunError, RunFolder
from profiles.report.text.run import WIDTH, summary_text
from profiles.report.text.sample import sampled_text
from profiles.report.text.search import find_text
from profiles.schema import FindResult, Summary
from profiles.search.result import exit_code as find_exit_code
from profiles.summary.sample import Sampled


def show_summary(options: argparse.Namespace, folder: RunFolder, summary: Summary) -> None:
    """A run's summary, and where its report is."""
    if options.json:
        sys.stdout.write(as_json(summary))
        return
    sys.stdout.write(summary_text(summary, folder.manifest(), width=output.width(WIDTH)))
    show_report(folder)


def show_found(options: argparse.Namespace, folder: RunFolder, result: FindResult) -> int:
    """A search's result, and where its report is; returns the exit code."""
    if options.json:
        sys.stdout.write(as_json(result))
    else:
        show(find_text(result))
        show_report(folder)
    return find_exit_code(result)


def show_sampled(options: argparse.Namespace, folder: RunFolder, found: Sampled) -> int:
    """What was sampled, and where the readings are; returns the exit code."""
    if options.json:
        sys.stdout.write(as_json(found))
    else:
        show(f"{sampled_text(found)}\nreadings  {folder.path}\n")
    return 0


def show_report(folder: RunFolder) -> None:
    """Where the report is, or where it can be made."""
    if folder.report_path.is_file():
        show(f"\nreport  {folder.report_path}\n")
    else:
        show(f"\nrun     {folder.path}\n")


@contextlib.contextmanager
def shown_all_the_same() -> Iterator[None]:
    """A result is told where it cannot be written, and that it was not."""
    try:
        yield
    except (RunError, ViralloadError) as err:
        sys.stderr.write(f"warning: nothing was written: {edge.printable(str(err))}\n")


def as_json(value: object) -> str:
    """The value as indented JSON, ending in a newline."""
    return msgspec.json.format(msgspec.json.encode(value)).decode() + "\n"
