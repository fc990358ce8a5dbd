"""For every test."""

from hypothesis import settings

# How long an example takes is the machine's affair, which others may share.
settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")
