"""For every test."""

from hypothesis import settings

# How long an example takes is the machine's affair, which others may share.
settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A test is not named by bytes: packed ones hold the clock, and each worker collects anew."""
    return f"{argname}-{len(val)}-bytes" if isinstance(val, bytes) else None
