"""The HTTP door: the Lambda API as boto3, the AWS CLI and SAM call it, and what the `fnrunner` commands need besides.

::

    HttpDoor ─┬─ function URL, HTTP API (by host or path) ─► front, and payload 2.0 both ways
              └─► Guard (Host, Origin, headers) ─┬─ dated path ─► Router ─► parameters ─► validate ─► handler ─► Reply
                                                 │      └─ Invoke: straight to the front, without the generic path
                                                 ├─ /fnrunner/v1/… ─► admin handlers
                                                 └─ /healthz /readyz /metrics

What this package owns
    The wire: paths, shapes and casing (from botocore's model, never typed in again), error bodies, headers, limits on what
    may be sent. One module a resource, each with its ``ROUTES``; one place that renders errors (:mod:`fnrunner.api.errors`).

What it refuses
    To decide: what exists is the catalogue's, what runs is the front's, what failed is ``delivery``'s. A parameter that
    has no effect in this release is refused by name. With authentication off, a request from a web page of another site is
    refused, and so is a Host that is not this machine's, since either may be an attack through somebody's browser.

When parts die
    The broker: Invoke answers 503, everything about the catalogue works. The store: 503 with Retry-After, nothing done.
    This process: an Event that was answered 202 is on the broker; one that was not may be there, under the id the caller sent.

The administration API
    JSON in and out. Errors: ``{"error": {"code", "message", "remedy"?}}``. ``cursor`` is opaque; absent: there is no more.

    ======================================================== =============================================================
    ``GET  /fnrunner/v1/status``                             versions, roles, broker, store, workers
    ``GET  /fnrunner/v1/functions/F/logs``                   ``since_ms filter request_id cursor limit wait_s``: lines, cursor
    ``GET  /fnrunner/v1/events/ID``                          the story of one event
    ``GET  /fnrunner/v1/events/ID/recording``                its payload, identity and failure, to run it again elsewhere
    ``GET  /fnrunner/v1/functions/F/dead-letters``           ``state cursor limit``: dead_letters, cursor
    ``GET  PUT /fnrunner/v1/functions/F/dead-letters/ID``    one in full; PUT: its new payload is the body
    ``POST /fnrunner/v1/functions/F/dead-letters/redrive``   ``{"ids": […]}`` or ``{"all": true}``; ``/purge`` likewise
    ``GET  /fnrunner/v1/audit``                              ``function``: the balance of one or all
    ``GET  /fnrunner/v1/functions/F/saved``                  whether it runs code that was saved and not deployed
    ``GET  /fnrunner/v1/buckets``, ``PUT …/buckets/B``       ``{"directory": …, "create"?: false}``
    ``DELETE /fnrunner/v1/buckets/B``                        204; 409 while notifications refer to it; files stay
    ``GET  PUT /fnrunner/v1/functions/F/notifications``      ``{"notifications": […]}``; PUT replaces them
    ``GET  /fnrunner/v1/queues``, ``GET PUT …/queues/Q``     list; depth; create, ``{"visibility_timeout_s"?, "fifo"?,
                                                             "max_receive_count"?, "dead_letter_queue"?}``
    ``POST /fnrunner/v1/queues/Q/purge``                     drop what is ready
    ``DELETE /fnrunner/v1/queues/Q``, ``…/streams/S``        with what is in it
    ``POST /fnrunner/v1/queues/Q/messages``                  ``{"messages": [{"body", "message_id"?, "headers"?}]}``
                                                             (``body_base64`` for what is no text): message_ids
    ``POST /fnrunner/v1/queues/Q/receive``                   ``{"max": n, "ack": true}``: messages
    ``GET  /fnrunner/v1/streams``, ``PUT …/streams/S``       list; ``{"partitions": n}``
    ``POST /fnrunner/v1/streams/S/records``                  ``{"records": [{"key"?, "data"}]}``, or the records as JSON lines
    ``GET  /fnrunner/v1/urls``                               function URLs
    ``GET  PUT DELETE /fnrunner/v1/http-apis/API``           ``{"stage"?, "cors"?, "routes": [{"method", "path", "function"}]}``
    ``GET  /fnrunner/v1/mappings``, ``…/mappings/UUID``      event source mappings; ``function``; one with its shards
    ``PUT  /fnrunner/v1/mappings/UUID/rewind``               ``{"to": {"at" or "timestamp" or "position": …}}``
    ``GET  POST /fnrunner/v1/schedules``                     list (``function``); make one, 409 where there is one
    ``GET  PUT DELETE /fnrunner/v1/schedules/S``             with the next firings; PUT makes or replaces
    ``PUT  /fnrunner/v1/schedules/S/enabled``                ``{"enabled": true}``
    ``GET  /fnrunner/v1/topics``, ``PUT DELETE …/topics/T``  list; make; remove with its subscriptions
    ``POST /fnrunner/v1/topics/T/messages``                  ``{"message", "subject"?, "attributes"?}``: message_id, heard
    ``PUT  /fnrunner/v1/topics/T/subscriptions``             ``{"function", "filter_policy"?, "filter_scope"?}``
    ``GET  POST /fnrunner/v1/signing-profiles``              who may sign code; ``{"name", "public_key"}``: arn
    ``POST /fnrunner/v1/signing-profiles/revoke``            ``{"arn"}``: what it signed is deployed no more
    ``GET  /fnrunner/v1/subscriptions``, ``DELETE …/ID``     list (``function``); remove
    ======================================================== =============================================================
"""
