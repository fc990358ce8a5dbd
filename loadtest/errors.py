"""What can go wrong for a user, as one tree; only `loadtest.cli.main` turns it into exit codes.

ViralloadError          1   something failed; the text says what to do next
└── ConfigurationError  2   what was asked for cannot be: nothing was spent
    ├── ScenarioError       a scenario's key, value or threshold
    ├── TraceError          a trace's file, row or column
    └── TargetError         the server to load: address, key, port, model
"""

INTERRUPTED_EXIT_CODE = 130


class ViralloadError(Exception):
    """Something failed; the text says what to do next."""

    exit_code = 1


class ConfigurationError(ViralloadError):
    """What was asked for cannot be; said before anything is spent."""

    exit_code = 2


class ScenarioError(ConfigurationError):
    """A scenario that does not say what to do."""


class TraceError(ConfigurationError):
    """A trace that cannot be replayed; names row and column."""


class TargetError(ConfigurationError):
    """A server that cannot be loaded: unreachable, refused the key, port taken, unknown model."""
