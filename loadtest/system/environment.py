"""What the run's record says of where it ran: versions, git, host."""

import importlib.metadata
import platform
import subprocess

PACKAGES = (
    "viralload", "torch", "diffusers", "transformers", "ray", "locust", "gevent", "nvidia-ml-py",
    "numpy", "pillow",
)  # fmt: skip


def own_version() -> str:
    """This viralload's version; of a checkout that was never installed, that it is not known."""
    try:
        return importlib.metadata.version("viralload")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed: its version is not known)"


def versions() -> dict[str, str]:
    """Versions of Python and of what matters to a result; absent packages are left out."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_state() -> tuple[str | None, bool | None]:
    """Commit of the working directory and whether it has changes; None outside a checkout."""
    commit = _git("rev-parse", "HEAD")
    status = _git("status", "--porcelain") if commit else None
    return commit, None if status is None else bool(status)


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments],  # noqa: S607 - the user's own git
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
