"""Whether reports can be drawn here: what draws them is large, and no run depends on it."""

# As pip names it, where that differs from the module.
PACKAGES = {"vl_convert": "vl-convert-python"}


def absent() -> str | None:
    """The package that reports lack here, by pip's name; None where they can be drawn.

    It imports what draws, so that also what those packages need in turn is there: call it when a
    report is due, not before.
    """
    try:
        import profiles.report.charts.svg
        import profiles.report.html.page  # noqa: F401 - whether it can be
    except ModuleNotFoundError as err:
        module = (err.name or "").partition(".")[0]
        if module in ("", "profiles"):  # that is a fault of ours
            raise
        return PACKAGES.get(module, module)
    return None


def elsewhere(missing: str, folder: object) -> str:
    """What to say of a run or search that is whole but cannot be drawn for lack of a package."""
    return (
        f"report: not drawn, {missing} is not installed here; the record is whole: "
        f"`viralload report {folder}` elsewhere draws it"
    )
