"""`viralload report`: summary and report of a run folder, made again."""

import argparse

from loadtest.cli.results import show_found, show_sampled, show_summary, shown_all_the_same
from loadtest.errors import ConfigurationError, ViralloadError
from loadtest.system import charts_installed
from profiles.record.columns import read
from profiles.record.folder import RunError, RunFolder
from profiles.search.result import find
from profiles.summary.run import compute
from profiles.summary.sample import is_sampled, summarize_sampled


def call(options: argparse.Namespace, _command: list[str]) -> int:
    """The exit code of the verb; `options` are its parsed words, `command` all of them."""
    try:
        folder = RunFolder.open(options.run)
    except RunError as err:
        raise ConfigurationError(str(err)) from err
    if is_sampled(folder.manifest()):
        return show_sampled(options, folder, summarize_sampled(read(folder)))
    missing = charts_installed.absent()
    if missing is not None:
        raise ViralloadError(
            f"a report cannot be drawn without {missing}: pip install it, or draw the report of "
            f"{folder.path} on another machine"
        )
    if folder.manifest().search is not None:
        from profiles.report.html.search import write_find_report

        result = find(folder)
        with shown_all_the_same():
            folder.write_find(result)
            write_find_report(folder, result)
        show_found(options, folder, result)
        return 0
    from profiles.report.html.run import write_report

    recorded = read(folder)
    summary = compute(recorded)
    with shown_all_the_same():
        folder.write_summary(summary)
        write_report(folder, recorded)
    show_summary(options, folder, summary)
    return 0
