"""The metrics as Prometheus reads them, written by its own client library."""

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Exposed
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from service.telemetry.instruments import METRICS, Counter, Histogram, Metric, Series


class _Everything(Collector):
    """What every process of the service has counted."""

    def collect(self) -> Iterator[Exposed]:
        for metric in METRICS:
            yield _exposed(metric)


_registry = CollectorRegistry(auto_describe=False)
_registry.register(_Everything())


def exposition(accept: str) -> tuple[bytes, str]:
    """Return all metrics of all processes, in the format that ``accept`` (a header) asks for, and its media type."""
    encode, media_type = choose_encoder(accept)
    return encode(_registry), media_type


def _exposed(metric: Metric) -> Exposed:
    names = list(metric.label_names)
    if isinstance(metric, Histogram):
        histogram = HistogramMetricFamily(metric.name, metric.meaning, labels=names)
        for series in metric.series():
            histogram.add_metric(list(series.labels), _cumulated(metric, series), series.value)
        return histogram
    made = CounterMetricFamily if isinstance(metric, Counter) else GaugeMetricFamily
    exposed = made(metric.name, metric.meaning, labels=names)
    for series in metric.series():
        exposed.add_metric(list(series.labels), series.value)
    return exposed


def _cumulated(metric: Histogram, series: Series) -> list[tuple[str, float]]:
    """Return the buckets with their upper ends, each with all that is in those before it."""
    ends = [*map(floatToGoString, metric.bounds), "+Inf"]
    return list(zip(ends, accumulate(series.buckets), strict=True))
