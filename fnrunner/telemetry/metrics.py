"""Metrics of one process in Prometheus' text form.

==========================================  =========  ============================  =====================================
name                                        kind       labels                        Lambda's or OpenTelemetry's name
==========================================  =========  ============================  =====================================
``fnrunner_invocations_total``              counter    function, kind, outcome       Invocations, Errors, Throttles
``fnrunner_duration_seconds``               histogram  function                      Duration, ``faas.invoke_duration``
``fnrunner_init_duration_seconds``          histogram  function                      ``faas.init_duration``
``fnrunner_cold_starts_total``              counter    function, reason              ``faas.coldstarts``
``fnrunner_max_memory_bytes``               gauge      function                      ``faas.mem_usage``
``fnrunner_in_flight``                      gauge      function                      ConcurrentExecutions
``fnrunner_unreadable_messages_total``      counter    queue
``fnrunner_settle_wait_seconds``            gauge
``fnrunner_accepted_total``                 counter    function, source              AsyncEventsReceived
``fnrunner_destination_failures``           gauge                                    DestinationDeliveryFailures
``fnrunner_dead_letter_errors``             gauge                                    DeadLetterErrors
==========================================  =========  ============================  =====================================
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)


class Metrics:
    """One for each process, with its own registry."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.invocations = Counter(
            "fnrunner_invocations",
            "Runs and refusals by outcome",
            ["function", "kind", "outcome"],
            registry=registry,
        )
        self.duration = Histogram(
            "fnrunner_duration_seconds", "Handler time", ["function"], registry=registry, buckets=_SECONDS
        )
        self.init_duration = Histogram(
            "fnrunner_init_duration_seconds", "Cold start time", ["function"], registry=registry, buckets=_SECONDS
        )
        self.cold_starts = Counter(
            "fnrunner_cold_starts", "Environments started, and why", ["function", "reason"], registry=registry
        )
        self.max_memory = Gauge(
            "fnrunner_max_memory_bytes", "Highest memory use of the last run", ["function"], registry=registry
        )
        self.in_flight = Gauge("fnrunner_in_flight", "Deliveries in hand", ["function"], registry=registry)
        self.unreadable = Counter(
            "fnrunner_unreadable_messages", "Messages that are no envelope", ["queue"], registry=registry
        )
        self.settle_wait = Gauge(
            "fnrunner_settle_wait_seconds", "How long the last settlement waited for the broker", registry=registry
        )
        self.destination_failures = Gauge(
            "fnrunner_destination_failures", "Destinations that could not be told", registry=registry
        )
        self.dead_letter_errors = Gauge(
            "fnrunner_dead_letter_errors", "Dead-letter targets that could not be told", registry=registry
        )
        self.accepted = Counter("fnrunner_accepted", "Events accepted", ["function", "source"], registry=registry)
