"""The models of a GPU day, by their settings. No torch here: `viralload run` needs none of it.

Settings are written as words, and one that this version does not know is left out and told, so that
the same day runs before and after a setting is there.
"""

from collections.abc import Mapping

from serve.settings import Settings, from_strings

# One GPU's worth; only the buckets of one image and of a full batch, so that graphs take seconds.
WORDS: Mapping[str, Mapping[str, str]] = {
    "sdxl": {"model": "sdxl", "max_batch": "8", "buckets": "2,16"},
    "sd15": {"model": "sd15", "max_batch": "16", "buckets": "2,32"},
}
REHEARSED: Mapping[str, Mapping[str, str]] = {
    "sdxl": {"model": "tiny-sdxl", "max_batch": "2", "buckets": "2,4", "default_steps": "10"},
    "sd15": {"model": "tiny", "max_batch": "2", "buckets": "2,4", "default_steps": "10"},
}


def words_of(model: str, *, rehearse: bool) -> dict[str, str]:
    """The settings of a model of the day, as words; its twin's in a rehearsal."""
    return dict((REHEARSED if rehearse else WORDS)[model])


def unknown(words: Mapping[str, str]) -> list[str]:
    """The settings among these that this version does not have."""
    return [key for key in words if key not in Settings.__struct_fields__]


def settings_of(words: Mapping[str, str], device: str) -> Settings:
    """Settings of those words that are known, on a device.

    Raises:
        SettingsError: A value is wrong.
    """
    left = unknown(words)
    return from_strings({k: v for k, v in words.items() if k not in left} | {"device": device})
