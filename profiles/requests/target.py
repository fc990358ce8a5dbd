"""What a run was against: how many GPUs or replicas its figures are divided by. Pure."""

from urllib.parse import urlsplit

from profiles.schema import RunManifest


def gpus_in_use(manifest: RunManifest) -> int:
    """How many GPUs the figure is divided by: one a replica, never more than there are."""
    there = len(manifest.gpus)
    replicas = manifest.target.replicas
    if manifest.target.embedded and replicas:
        return min(there, replicas)
    return there


def servers_in_use(manifest: RunManifest) -> int:
    """GPUs in use; where there is none, replicas: for comparing runs, never for a block."""
    if manifest.target.device == "cpu" or manifest.target.is_stub or not manifest.gpus:
        return manifest.target.replicas or 1
    return gpus_in_use(manifest)


def target_shares_machine(manifest: RunManifest) -> bool:
    """Whether the GPUs this run sampled can be the target's."""
    host = (urlsplit(manifest.target.url).hostname or "").lower()
    return manifest.target.embedded or host in {"localhost", "::1"} or host.startswith("127.")
