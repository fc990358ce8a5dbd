"""The latest readings for Prometheus, over HTTP on loopback: the home of prometheus_client.

    exporter = Exporter(port, clock)     serves http://127.0.0.1:<port>/metrics on a thread
    exporter.take(sample)                the sampler's side: it keeps the value, and no more
    exporter.close()

A page is made from what was taken last, when it is asked for: scraping asks no GPU anything, and
the sampler never waits for a scrape. Readings that come less often than samples (GPM's averages,
once a second) stay on the page until they are stale.
"""

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from profiles.sampler.metrics import GPU_LABELS, INFO, KINDS, Metric, Sample
from profiles.schema import GpuInfo

LOOPBACK = "127.0.0.1"
STALE_S = 5.0  # a reading as old as this is not told any more

Labels = tuple[str, ...]
Reading = tuple[float | None, float]  # when it was taken (None: it does not age), and the value


class Exporter(Collector):
    """Serves what it was given last.

    Args:
        port: of loopback; 0 for any that is free.
        clock: seconds, the clock of the samples' `t_s`.
        stale_s: how old a reading may be, if longer than STALE_S.

    Raises:
        OSError: the port cannot be had.
    """

    def __init__(self, port: int, clock: Callable[[], float], stale_s: float = 0.0) -> None:
        self._clock = clock
        self._stale_s = max(STALE_S, stale_s)
        # Replaced by the sampler, never changed, so that a page may be made meanwhile.
        self._latest: dict[type[Sample], dict[Labels, dict[str, Reading]]] = {
            kind: {} for kind in KINDS
        }
        self._infos: dict[Labels, GpuInfo] = {}
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        self._server, self._thread = start_http_server(port, LOOPBACK, registry)

    @property
    def url(self) -> str:
        """Where the metrics are."""
        return f"http://{LOOPBACK}:{self._server.server_port}/metrics"

    def take(self, sample: Sample) -> None:
        """Keep the readings of `sample`; those that are null leave what was there to age."""
        kind = type(sample)
        metrics, label_names = KINDS[kind]
        labels = tuple(str(getattr(sample, name)) for name in label_names)
        t_s = getattr(sample, "t_s", None)
        readings = dict(self._latest[kind].get(labels, {}))
        for metric in metrics:
            value = getattr(sample, metric.attribute)
            if value is not None:
                readings[metric.attribute] = (t_s, value)
        self._latest[kind] = {**self._latest[kind], labels: readings}
        if isinstance(sample, GpuInfo):
            self._infos = {**self._infos, labels: sample}

    def collect(self) -> Iterable[Any]:
        """The page, as prometheus_client wants it."""
        oldest_s = self._clock() - self._stale_s
        for kind, (metrics, label_names) in KINDS.items():
            families: dict[str, Any] = {}
            latest = self._latest[kind]
            for metric in metrics:
                for labels, readings in latest.items():
                    t_s, value = readings.get(metric.attribute, (None, None))
                    if value is None or (t_s is not None and t_s < oldest_s):
                        continue
                    if metric.name not in families:
                        families[metric.name] = _family(metric, label_names)
                    told = [*labels, *(text for _, text in metric.extra)]
                    families[metric.name].add_metric(told, value * metric.scale)
            yield from families.values()
        info = GaugeMetricFamily(INFO, "What the GPU is.", labels=[*GPU_LABELS, "name", "driver"])
        for labels, gpu in self._infos.items():
            info.add_metric([*labels, gpu.name, gpu.driver or ""], 1.0)
        yield info

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _family(metric: Metric, label_names: Labels) -> Any:
    names = [*label_names, *(name for name, _ in metric.extra)]
    family = CounterMetricFamily if metric.is_counter else GaugeMetricFamily
    return family(metric.name, metric.help, labels=names)
