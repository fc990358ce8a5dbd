"""A replica's `image_*` metrics, beside Ray's own."""

# mypy: disallow-untyped-calls=False
# Parts of Ray are untyped.

from ray.serve.metrics import Counter, Gauge, Histogram

from serve.engine.request import Done

SECONDS_BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0]
BATCH_BOUNDS = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0]


class Metrics:
    """The replica's `image_*` metrics, beside Ray's own."""

    def __init__(self) -> None:
        self._requests = Counter(
            "image_requests_total", "Image requests by outcome.", tag_keys=("outcome",)
        )
        self._images = Counter("image_images_total", "Images answered.")
        self._stages = {
            stage: Histogram(
                f"image_{stage}_seconds", f"Seconds of a request in {stage}.", SECONDS_BOUNDS
            )
            for stage in ("queue", "text", "denoise", "decode", "encode")
        }
        self._batch = Histogram("image_batch_size", "Images in one batch.", BATCH_BOUNDS)
        self._depth = Gauge("image_queue_depth", "Images waiting in the replica.")

    def outcome(self, outcome: str) -> None:
        """Count a request that ended without images."""
        self._requests.inc(tags={"outcome": outcome})

    def done(self, done: Done) -> None:
        """Count a finished request, and where its time went."""
        self.outcome("ok")
        self._images.inc(len(done.images))
        for stage, histogram in self._stages.items():
            # Ray drops an observation of exactly 0.
            histogram.observe(max(getattr(done.timing, f"{stage}_s"), 1e-9))

    def batch(self, size: int, waiting: int) -> None:
        """Note a batch (policy `step`: a step), and the queue it leaves."""
        self._batch.observe(size)
        self._depth.set(waiting)
