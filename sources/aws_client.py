"""Calls of one AWS-compatible service through boto3, on threads of their own, with its errors translated at this border.

Credentials are found as boto3 finds them: environment, profile, role.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

from sources.errors import SourceMissing, SourcesError, SourceUnavailable

THREADS = 16
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 3, 15

_MISSING = frozenset({"ResourceNotFoundException", "TableNotFoundException"})
_BUSY = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "LimitExceededException",
        "KMSThrottlingException",
        "ThrottlingException",
        "Throttling",
        "RequestLimitExceeded",
    }
)


class Busy(SourcesError):
    """The service wants to be asked less often. Nothing is lost: it is asked again a little later."""


class IteratorExpired(SourcesError):
    """The iterator is too old. Get another one for the same position."""


class PositionTrimmed(SourcesError):
    """The position is older than what the service keeps."""


class PositionUnknown(SourcesError):
    """The service knows no such position in this shard."""


_CODES: dict[str, type[SourcesError]] = {
    "ExpiredIteratorException": IteratorExpired,
    "TrimmedDataAccessException": PositionTrimmed,
    "InvalidArgumentException": PositionUnknown,
    "ValidationException": PositionUnknown,
}


class AwsClient:
    """``service`` as boto3 names it. Made without any I/O."""

    def __init__(self, service: str, endpoint: str, region: str) -> None:
        self._service = service
        self._endpoint = endpoint
        self._region = region
        self._client: Any = None
        self._making = Lock()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix=service)

    async def call(self, operation: str, /, **parameters: Any) -> dict[str, Any]:
        """The answer to an operation by its Python name, such as ``get_records``.

        Raises SourceMissing, SourceUnavailable, Busy, IteratorExpired, PositionTrimmed, PositionUnknown.
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._call, operation, parameters)

    def close(self) -> None:
        """A call under way is left to its end."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _call(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            with self._making:
                if self._client is None:
                    self._client = self._make()
            answer: dict[str, Any] = getattr(self._client, operation)(**parameters)
        except ClientError as error:
            raise self._translated(error.response, error) from error
        except (BotoCoreError, OSError) as error:
            raise SourceUnavailable(f"{self._service} at {self._endpoint} cannot be used: {error}") from error
        return answer

    def _make(self) -> Any:
        import boto3
        from botocore.config import Config

        config = Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            retries={"total_max_attempts": 1},
            max_pool_connections=THREADS,
        )
        session = boto3.session.Session()  # the default one is not for threads
        return session.client(self._service, endpoint_url=self._endpoint, region_name=self._region, config=config)

    def _translated(self, response: Any, error: Exception) -> SourcesError:
        code = response.get("Error", {}).get("Code", "")
        said = f"{self._service} at {self._endpoint} refuses: {error}"
        if code in _MISSING:
            return SourceMissing(f"{said}. Create the stream, or delete the event source mapping")
        if code in _BUSY:
            return Busy(said)
        return _CODES.get(code, SourceUnavailable)(said)
