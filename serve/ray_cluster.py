"""A Ray of this process's own: on loopback, with its files in a folder that goes with it.

Ray reads the environment while it is imported, so it is imported inside functions, after the
environment is set.
"""

import contextlib
import logging
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

OBJECT_STORE_BYTES = 512 * 2**20
CONTROLLER_TIMEOUT_S = 5.0
FOREIGN = ("RAY_", "SERVE_")  # variables that begin so are Ray's
ROOT = Path(__file__).resolve().parent.parent  # the folder that `serve` is imported from
ARENAS = "2"  # of glibc's malloc, unless the user's environment says otherwise
TRIES = 2  # a machine that is busy just now may keep Ray from starting within its own time
RAYS = "r"  # Ray's own folder within ours: it opens the one it is given to every user
# Whoever clears up behind a run lets a process of this name come to its end.
GUARD_NAME = "viralload-guard"
# Ray's agents hide their command lines, but have their logs open; so may whoever reads those, and
# lives. Again and again, for those that were about to write.
GUARD = """
read -r _; folder="$1"
for pause in 0 0.1 0.4 1; do
    sleep "$pause"
    for file in $(find /proc/[0-9]*/fd -lname "$folder/*" 2>/dev/null); do
        process="${file#/proc/}"; process="${process%%/*}"
        case "$(tr '\\0' ' ' 2>/dev/null < "/proc/$process/cmdline")" in
            ray::*|*"=$folder/"*) kill -9 "$process" 2>/dev/null ;;
        esac
    done
    rm -rf "$folder"
done
"""


class ServerError(RuntimeError):
    """The server cannot start or go on; the message is one line."""


@contextlib.contextmanager
def own_ray(*, gpus: int, niceness: int, direct_ingress: bool, metrics_port: int) -> Iterator[None]:
    """Start Ray for the time of the block, and leave no process and no file behind.

    All that it listens on is on loopback, but for the address that Serve is told for HTTP.

    Args:
        gpus: How many GPUs the replicas may take.
        niceness: What all of Ray's workers run at; Ray's own default is 15.
        direct_ingress: Whether each replica listens by itself; see `replica_ports`.
        metrics_port: Port of the Prometheus metrics.

    Raises:
        ServerError: Ray does not start.
    """
    # Of this user alone (0700). Short, for the paths of sockets have at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="viralload-", dir="/tmp"))
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        del os.environ[name]  # settings of another Ray than ours
    os.environ.update(_environment(direct_ingress=direct_ingress, gpus=gpus))
    os.environ["RAY_worker_niceness"] = str(niceness)  # noqa: SIM112 - Ray's spelling
    import ray

    with _guard(folder):
        yield from _rays_time(ray, folder, gpus=gpus, metrics_port=metrics_port)


def _rays_time(ray: Any, folder: Path, *, gpus: int, metrics_port: int) -> Iterator[None]:
    """Ray's start, the time in between, and its end."""
    before = set(psutil.Process().children(recursive=True))
    try:
        # Ray puts the working folder before all packages in its workers' path. A user's may hold
        # a serve.py or a queue.py; ours stands there already.
        with contextlib.chdir(ROOT):
            _start(
                lambda: ray.init(
                    address="local",
                    num_gpus=gpus,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    object_store_memory=OBJECT_STORE_BYTES,
                    _node_ip_address="127.0.0.1",
                    _temp_dir=str(folder / RAYS),
                    _metrics_export_port=metrics_port,
                ),
                lambda: _clear(ray, before),
            )
        yield
    finally:
        _clear(ray, before)
        _remove(folder)


def _start(start: Callable[[], object], clear: Callable[[], None]) -> None:
    """Start Ray, and once more should it not come up in its own time (30 s).

    Raises:
        ServerError: It came up neither time, or failed for another reason.
    """
    for tries in range(1, TRIES + 1):
        try:
            start()
        except Exception as err:
            reason = " ".join(str(err).split())
            if "timed out" not in reason.lower():
                raise ServerError(f"Ray cannot start: {reason}") from err
            if tries == TRIES:
                raise ServerError(
                    f"Ray did not start in time, {TRIES} times: {reason} This machine is busy: "
                    "end what keeps its cores busy (see top), and start again"
                ) from err
            clear()
        else:
            return


def _clear(ray: Any, before: set[psutil.Process]) -> None:
    """End Ray, and whatever it has left running."""
    children = set(psutil.Process().children(recursive=True)) - before
    ray.shutdown()
    _end(list(children))


def _remove(folder: Path) -> None:
    """Delete Ray's folder, and end whatever would write into it again.

    An agent of a Ray that did not come up may be nobody's child, and lives on for a minute.
    """
    named = [process for process in psutil.process_iter(["cmdline"]) if _names(process, folder)]
    _end(named)
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)


def _names(process: psutil.Process, folder: Path) -> bool:
    """Whether a process of Ray's was started for this folder."""
    rays, words = str(folder / RAYS), process.info["cmdline"] or [""]
    if any(rays in word for word in words):
        return True
    if not words[0].startswith("ray::"):  # such a one hides its words
        return False
    try:
        return any(one.path.startswith(rays) for one in process.open_files())
    except psutil.Error:  # another user's, or gone
        return False


def check_ray() -> None:
    """Make sure that Ray's own processes live.

    Raises:
        ServerError: One of them ended.
    """
    import ray

    node = ray._private.worker._global_node
    dead = [name for name, _ in node.dead_processes()] if node else ["all"]
    if dead:
        raise ServerError(f"Ray has died ({', '.join(dead)}): start the server again")


def replica_ports(application: str) -> set[int] | None:
    """Where the running replicas of an application listen; None: Serve does not answer now."""
    import ray
    from ray.serve._private.common import ReplicaID
    from ray.serve.context import _get_global_client
    from ray.serve.exceptions import RayServeException

    try:
        client: Any = _get_global_client()
        asked = client._controller.get_target_groups.remote(application)
        groups = ray.get(asked, timeout=CONTROLLER_TIMEOUT_S)
    except (ray.exceptions.RayError, RayServeException):
        return None
    targets = (target for group in groups for target in group.targets)
    # While no replica runs, the proxy stands in for them.
    return {target.port for target in targets if ReplicaID.is_full_id_str(target.name)}


def _environment(*, direct_ingress: bool, gpus: int) -> dict[str, str]:
    """What Ray and Serve read from the environment, in this process and all of its children."""
    root = str(ROOT)
    path = os.environ.get("PYTHONPATH")
    environment = {
        "PYTHONPATH": f"{root}:{path}" if path else root,
        "RAY_USAGE_STATS_ENABLED": "0",
        # "No clusters": Ray then takes 127.0.0.1 as this node's address and binds nothing else.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve.replica.deployment:middlewares",
        # 188 -> 265 requests/s of the stub on two cores: proxy to replica without Ray's tasks,
        # and no hops between threads, which handlers that never block have no use for.
        "RAY_SERVE_PROXY_USE_GRPC": "1",
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
        # A replica's threads each have an arena of glibc's otherwise, which grows for hours.
        "MALLOC_ARENA_MAX": os.environ.get("MALLOC_ARENA_MAX", ARENAS),
    }
    if direct_ingress:
        # What leaves is out of the ingress's list within a second, not within a cloud's thirty.
        environment["RAY_SERVE_ENABLE_DIRECT_INGRESS"] = "1"
        environment["RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"] = "1"
    if gpus:
        # Ray ends workers when 95% of the host's memory is taken, as it reads it: some virtual
        # machines begin with little and grow. A replica's tensors are on its GPU.
        environment["RAY_memory_monitor_refresh_ms"] = "0"
    return environment


@contextlib.contextmanager
def _guard(folder: Path) -> Iterator[None]:
    """Clean up behind this process should it be killed with SIGKILL, whatever it is at.

    The kernel ends Ray's main processes with their parent, but its agents linger for a minute.
    A shell waits for the end of our pipe, which only our death brings, and ends those too.
    """
    with subprocess.Popen(
        ["/bin/sh", "-c", GUARD, GUARD_NAME, str(folder)],
        stdin=subprocess.PIPE,
        start_new_session=True,
    ) as shell:
        try:
            yield
        finally:
            shell.kill()


def _end(processes: list[psutil.Process]) -> None:
    """Make sure that processes are gone: Ray's agents would outlive it by a minute."""
    for process in psutil.wait_procs(processes, timeout=1.0)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=1.0)
