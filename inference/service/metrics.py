"""Prometheus metrics of a cascade, for one's own application or for the service.

    from prometheus_client import REGISTRY
    REGISTRY.register(Collector(cascade))

Needs the extra `serve`, or prometheus-client alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector as Base

from inference.service.figures import METRICS, Figures, edges, figures

if TYPE_CHECKING:
    from inference.cascade import Cascade

PREFIX = "monoku_"


class Collector(Base):
    """Reads `cascade.stats()` whenever Prometheus asks; from its making on, answers are counted by intent and time.

    `read` gives the figures in the place of the cascade's own: a service's, of all its workers.
    """

    def __init__(self, cascade: Cascade, read: Callable[[], Figures] | None = None) -> None:
        cascade.measure()
        self._read = read or (lambda: figures(cascade.stats()))

    def collect(self) -> Iterator[Metric]:
        """The metrics."""
        return families(self._read())

    def describe(self) -> Iterable[Metric]:
        """None in advance: a registry takes it as it is."""
        return ()


def families(found: Figures) -> Iterator[Metric]:
    """Figures as metrics of prometheus_client."""
    for metric in METRICS:
        values = found.get(metric.name)
        if not values:
            continue
        kinds: dict[str, Any] = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}
        name, help = PREFIX + metric.name, metric.help
        if metric.kind == "histogram":
            yield _histogram(HistogramMetricFamily(name, help, labels=metric.labels), values)
            continue
        family = kinds[metric.kind](name, help, labels=metric.labels)
        for labels, value in sorted(values.items()):
            family.add_metric(labels, value)
        yield family


def _histogram(family: HistogramMetricFamily, values: dict[tuple[str, ...], Any]) -> HistogramMetricFamily:
    for labels, (*bins, total) in sorted(values.items()):
        family.add_metric(labels, list(zip(edges(), itertools.accumulate(bins), strict=True)), total)
    return family


def exposition(collector: Collector) -> bytes:
    """What GET /metrics answers, in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry)
