"""GPU performance monitoring (GPM), on Hopper and later: how full the GPU was.

NVML keeps hardware counters; two looks at them give exact averages over the time between. SM
activity is the share of SM time with work resident, tensor the share of SM time in any tensor
operation, DRAM the share of the memory's theoretical bandwidth, all in percent.
"""

import math
from typing import Any

METRICS = {"sm_active_pct": 2, "tensor_pct": 5, "dram_pct": 10}  # GpuSample's name -> GPM metric
EVERY_S = 0.95  # a second, less the lateness of a cycle; NVML wants more than 0.1 s


class Gpm:
    """The averages of one GPU, over each second."""

    @classmethod
    def open(cls, lib: Any, handle: Any) -> "Gpm | None":
        """For the GPU of that handle, or None where it has no GPM (or is cut up by MIG)."""
        try:
            if not lib.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice:
                return None
            looks = [lib.nvmlGpmSampleAlloc(), lib.nvmlGpmSampleAlloc()]
        except lib.NVMLError:
            return None  # what a GPU cannot tell is None
        return cls(lib, handle, looks)

    def __init__(self, lib: Any, handle: Any, looks: list[Any]) -> None:
        self._lib = lib
        self._handle = handle
        self._looks = looks  # earlier and later; swapped at each reading
        self._looked_s: float | None = None  # when the earlier was taken
        self._question = lib.c_nvmlGpmMetricsGet_t()  # 19 kB: made once
        self._question.version = lib.NVML_GPM_METRICS_GET_VERSION
        self._question.numMetrics = len(METRICS)
        for at, metric in enumerate(METRICS.values()):
            self._question.metrics[at].metricId = metric

    def read(self, t_s: float) -> tuple[dict[str, float], int]:
        """Averages since the last look if that is a second ago, else nothing; and NVML's code.

        An average belongs to the second before `t_s`, so it is given once and not repeated.
        """
        if self._looked_s is not None and t_s - self._looked_s < EVERY_S:
            return {}, 0
        first, self._looked_s = self._looked_s is None, t_s
        earlier, later = self._looks
        question = self._question
        try:
            self._lib.nvmlGpmSampleGet(self._handle, later)
            self._looks = [later, earlier]
            if first:
                return {}, 0
            question.sample1, question.sample2 = earlier, later
            self._lib.nvmlGpmMetricsGet(question)
        except self._lib.NVMLError as err:
            self._looked_s = None  # the next look begins anew
            return {}, int(err.value)
        averages = {}
        for name, metric in zip(METRICS, question.metrics, strict=False):
            if metric.nvmlReturn == 0 and math.isfinite(metric.value):
                averages[name] = metric.value
        return averages, 0

    def close(self) -> None:
        """Free the looks."""
        for look in self._looks:
            self._lib.nvmlGpmSampleFree(look)
        self._looks = []
