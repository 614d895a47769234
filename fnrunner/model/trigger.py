"""What invokes a function from outside, besides buckets and event source mappings: function URLs, schedules, topics,
HTTP APIs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from fnrunner.model.function import EPOCH
from sources.schedule import CatchUp


@dataclass(frozen=True, slots=True)
class Cors:
    """Which other origins' pages may read answers. Source: Lambda API, Cors; empty means that nothing was given."""

    allow_credentials: bool = False
    allow_headers: tuple[str, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_origins: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age_s: int = 0


class AuthType(Enum):
    NONE = "NONE"
    AWS_IAM = "AWS_IAM"


class InvokeMode(Enum):
    BUFFERED = "BUFFERED"
    RESPONSE_STREAM = "RESPONSE_STREAM"


@dataclass(frozen=True, slots=True)
class FunctionUrl:
    """``url_id`` is its name in URLs, for as long as it exists. ``qualifier`` empty: the unqualified function.

    ``invoke_mode`` None: never given, which means BUFFERED and is not shown where Lambda does not show it.
    """

    url_id: str
    function: str
    qualifier: str = ""
    auth_type: AuthType = AuthType.NONE
    cors: Cors | None = None
    invoke_mode: InvokeMode | None = None
    created: datetime = EPOCH
    last_modified: datetime = EPOCH

    @property
    def id(self) -> str:
        return self.url_id


@dataclass(frozen=True, slots=True)
class Schedule:
    """``expression`` is ``cron(…)``, ``rate(…)`` or ``at(…)``, read in ``timezone``. ``input`` is the JSON text that the
    function gets; None: the Scheduled Event. ``flexible_window`` zero: on the second.
    """

    name: str
    function: str
    expression: str
    qualifier: str = ""
    timezone: str = "UTC"
    input: str | None = None
    description: str = ""
    enabled: bool = True
    start: datetime | None = None
    end: datetime | None = None
    flexible_window: timedelta = timedelta(0)
    catch_up: CatchUp = CatchUp.LAST
    created: datetime = EPOCH

    @property
    def id(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class TopicSubscription:
    """A function that hears a topic. ``filter_policy`` is JSON text, empty for all; ``body_filter``: it is about the
    message's body instead of its attributes."""

    id: str
    topic: str
    function: str
    qualifier: str = ""
    filter_policy: str = ""
    body_filter: bool = False


class ApiType(Enum):
    """API Gateway's kinds of APIs. They differ in the form of events and in what clients are told without an answer."""

    HTTP = "http"
    REST = "rest"


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """One route of an HTTP or REST API. ``method`` may be ``ANY``; ``path`` such as ``/items/{id}`` or ``/{proxy+}``; both
    are empty for ``$default``. ``id`` names API, method and path. ``payload`` is the version of the event's format.
    """

    api: str
    function: str
    method: str = ""
    path: str = ""
    qualifier: str = ""
    stage: str = "$default"
    cors: Cors | None = None
    timeout: timedelta | None = None
    type: ApiType = ApiType.HTTP
    payload: str = "2.0"

    @property
    def id(self) -> str:
        return f"{self.api} {self.route_key}"

    @property
    def route_key(self) -> str:
        """As the event has it.

        >>> HttpRoute("api", "f").route_key, HttpRoute("api", "f", "GET", "/items/{id}").route_key
        ('$default', 'GET /items/{id}')
        """
        return f"{self.method} {self.path}" if self.path else "$default"


Trigger = FunctionUrl | Schedule | TopicSubscription | HttpRoute
