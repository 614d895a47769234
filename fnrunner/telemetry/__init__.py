"""What fnrunner tells about itself: traces by OpenTelemetry's messaging and FaaS conventions, and metrics.

::

    accept (SERVER or INTERNAL)
      └─ publish fnrunner.v1.events.F (PRODUCER)
           ├─ process fnrunner.v1.events.F (CONSUMER)            attempt 1
           │    ├─ F (SERVER, faas.*)
           │    └─ publish fnrunner.v1.delay.60000ms (PRODUCER)
           ├─ process fnrunner.v1.events.F  ─ link ─► attempt 1    attempt 2 …
           │    └─ publish fnrunner.v1.dead (PRODUCER)
           └─ redrive F ─ link ─► the last attempt

All of an event is one trace: its context travels in the envelope, so it survives crashes, delays and redrives.
Exporting happens on a thread of the SDK with a bounded queue: a collector that is down or slow costs spans, never an
invocation. Without an endpoint no SDK is started; events get trace ids all the same,
so that logs and ``why`` have them.
"""
