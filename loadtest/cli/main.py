"""The one command, `viralload`: parses, calls a verb's file, maps errors to exit codes.

    0    pass                      3    the run is INVALID
    1    error                     99   a threshold failed
    2    usage or configuration    130  interrupted

stdout carries the result, stderr the progress. A verb is the file of its name in this folder, with
`call(options, command) -> exit code`; it is imported when it is called, so that `--help` and
`plan` start without what only a run or a report needs.
"""

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence

from loadtest.cli.options import typed_secrets
from loadtest.cli.options.parser import parser
from loadtest.errors import INTERRUPTED_EXIT_CODE, ConfigurationError, ViralloadError
from loadtest.system import command_line, output
from loadtest.system.child_environment import set_home
from loadtest.system.output import OutputError
from profiles import edge
from profiles.record.folder import RunError

WITHOUT_RESULT = ("serve", "worker")  # verbs that need no stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    secrets = typed_secrets.secrets_of(words, os.environ)
    command_line.hide(typed_secrets.hidden_in_ps(words, os.environ))
    with output.guarded() as (out, err):
        err.hide = lambda text: edge.hide(text, secrets)
        set_home()
        try:
            code = _command(words, is_closed=out.real is None)
            out.flush()
        except SystemExit:  # argparse has said what is wrong, or printed its help
            with contextlib.suppress(OutputError):
                out.flush()
            raise
        except KeyboardInterrupt:
            code = INTERRUPTED_EXIT_CODE
        except (ViralloadError, RunError, OutputError) as fault:
            code = _fail(fault, edge.hide(edge.printable(str(fault)), secrets))
        except Exception as fault:  # noqa: BLE001 - the edge: there is nobody above
            code = _fail(fault, edge.in_words(fault, secrets))
    return code


def _command(words: list[str], *, is_closed: bool) -> int:
    """Parse, check what holds for every verb, and call the verb."""
    for word in words:
        if not _is_text(word):
            raise ConfigurationError(
                f"{word!a} is no UTF-8: rename the file, or give its name in UTF-8"
            )
    if words[:1] == ["--worker"]:  # as Locust has it
        words = ["worker", *words[1:]]
    grammar = parser()
    if not words:
        grammar.print_help(sys.stderr)
        return ConfigurationError.exit_code
    options = grammar.parse_args(words)
    if is_closed and options.verb not in WITHOUT_RESULT:
        raise ConfigurationError(
            "standard output is closed, and that is where the result goes: send it to a file, or "
            "to /dev/null"
        )
    verb = importlib.import_module(f"loadtest.cli.{options.verb}")
    code: int = verb.call(options, ["viralload", *words])
    return code


def _fail(err: Exception, words: str) -> int:
    sys.stderr.write(f"error: {words}\n")
    return getattr(err, "exit_code", 1)


def _is_text(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True
