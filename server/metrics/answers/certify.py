"""Metrics of certificates by smoothing."""

from prometheus_client import CollectorRegistry, Counter


class CertifyMetrics:
    """In one process's registry.

    Args:
        registry: where they are shown; None: nowhere.

    """

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self.draws = Counter("holdfast_certify_draws_total", "Noisy copies answered for certificates.", registry=registry)
        self.refused = Counter(
            "holdfast_certify_refused_images_total",
            "Images not certified, for all callers together had asked for more than --certify-rate.",
            registry=registry,
        )
        self._images = Counter(
            "holdfast_certified_images_total", "Images smoothed, by what came of it.", ("outcome",), registry=registry
        )
        for outcome in ("certified", "abstained"):
            self._images.labels(outcome)

    def certified(self, *, abstains: bool) -> None:
        """One image was smoothed."""
        self._images.labels("abstained" if abstains else "certified").inc()
