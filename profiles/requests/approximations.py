"""What a target left out or rounded to be faster, in words: it stands beside every figure."""

from profiles.schema import Approximation, RunManifest, TargetInfo


def sentences(manifest: RunManifest) -> list[str]:
    """A sentence for each approximation that the target told of, with its error; mostly none."""
    return [_sentence(each, manifest.target) for each in manifest.target.approximations]


def _sentence(one: Approximation, target: TargetInfo) -> str:
    if one.relative_error is None:
        error = "the server told no error"
    else:
        error = (
            f"measured at the server's start they change the {one.of} by "
            f"{100 * one.relative_error:.2g}% (‖x - x'‖ / ‖x'‖)"
        )
    if target.settings is not None and target.settings.get("weights", "random") == "random":
        error += ", with random weights, which says nothing about the images of trained ones"
    return f"The images are approximations ({one.name}): {error}."
