"""HTTP as events: what a function is given for a request, and what a client is given for the function's answer.

Everything here is pure: values in, values out, no clock and no socket. Payload format 2.0 of function URLs and HTTP APIs,
and 1.0 of REST APIs (``event_v1``, ``response_v1``)::

    Request ─► route ─► event ─► (the function) ─► response ─► cors ─► Response
                                 (streamed)     ─► prelude  ─┘

An answer that cannot be a response is :class:`~sources.http.response.InvalidAnswer`: the client gets a 502 without a
reason, and whoever serves it logs the reason.
"""
