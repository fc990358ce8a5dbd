"""GPU performance monitoring (GPM), on Hopper and later: how full the GPU was.

NVML keeps hardware counters; two looks at them give exact averages over the time between. SM
activity is the share of SM time with work resident, occupancy the share of warps resident, tensor
the share of SM time in any tensor operation, DRAM the share of the memory's theoretical bandwidth,
all in percent.
"""

import math
from collections.abc import Callable
from typing import Any

# GpuSample's name -> GPM metric (nvml.h, nvmlGpmMetricId_t)
METRICS = {"sm_active_pct": 2, "sm_occupancy_pct": 3, "tensor_pct": 5, "dram_pct": 10}
EVERY_S = 0.95  # a second, less the lateness of a cycle; NVML wants more than 0.1 s


class Gpm:
    """The averages of one GPU or MIG instance, over each second.

    Args:
        lib: pynvml.
        look: takes a look at the counters into the sample it is given.
        after_s: how long to wait before the first look, so that many GPUs do not look at once.
    """

    @classmethod
    def open(cls, lib: Any, handle: Any, after_s: float = 0.0) -> "Gpm | None":
        """For the GPU of that handle, or None where it has no GPM.

        Raises:
            NVMLError: it cannot be asked.
        """
        if not lib.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice:
            return None
        return cls(lib, lambda sample: lib.nvmlGpmSampleGet(handle, sample), after_s)

    @classmethod
    def open_instance(cls, lib: Any, parent: Any, instance: int, after_s: float = 0.0) -> "Gpm":
        """For a MIG instance, by its number in the GPU `parent`.

        Raises:
            NVMLError: it has none.
        """
        return cls(lib, lambda one: lib.nvmlGpmMigSampleGet(parent, instance, one), after_s)

    def __init__(self, lib: Any, look: Callable[[Any], object], after_s: float) -> None:
        self._lib = lib
        self._look = look
        self._after_s = after_s
        self._begin_s: float | None = None
        self._looks = [lib.nvmlGpmSampleAlloc(), lib.nvmlGpmSampleAlloc()]  # earlier, later
        self._looked_s: float | None = None  # when the earlier was taken
        self._question = lib.c_nvmlGpmMetricsGet_t()  # 19 kB: made once
        self._question.version = lib.NVML_GPM_METRICS_GET_VERSION
        self._question.numMetrics = len(METRICS)
        for at, metric in enumerate(METRICS.values()):
            self._question.metrics[at].metricId = metric

    def read(self, t_s: float) -> tuple[dict[str, float], int]:
        """Averages since the last look if that is a second ago, else nothing; and NVML's code.

        An average belongs to the `gpm_span_s` before `t_s`; it is given once and not repeated.
        """
        if self._begin_s is None:
            self._begin_s = t_s + self._after_s
        before_s = self._looked_s
        if t_s < self._begin_s or (before_s is not None and t_s - before_s < EVERY_S):
            return {}, 0
        self._looked_s = t_s
        earlier, later = self._looks
        question = self._question
        try:
            self._look(later)
            self._looks = [later, earlier]
            if before_s is None:
                return {}, 0
            question.sample1, question.sample2 = earlier, later
            self._lib.nvmlGpmMetricsGet(question)
        except self._lib.NVMLError as err:
            self._looked_s = None  # the next look begins anew
            return {}, int(err.value)
        averages = {"gpm_span_s": round(t_s - before_s, 6)}
        for name, metric in zip(METRICS, question.metrics, strict=False):
            if metric.nvmlReturn == 0 and math.isfinite(metric.value):
                averages[name] = metric.value
        return averages, 0

    def close(self) -> None:
        """Free the looks."""
        for look in self._looks:
            self._lib.nvmlGpmSampleFree(look)
        self._looks = []
