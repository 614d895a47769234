"""The ``run`` step: an environment of the function's spec, one invocation in it, its log and its spans."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from broker.envelope import Envelope
from fnrunner.catalogue import Catalogue
from fnrunner.catalogue.artifacts import KEEP
from fnrunner.catalogue.merging import name_of
from fnrunner.delivery.ledger import Ledger
from fnrunner.delivery.record import LogChunk
from fnrunner.model import lineage
from fnrunner.model.arn import Home
from fnrunner.model.function import Bucket, Function
from fnrunner.model.image import Image
from fnrunner.model.invocation import (
    ON_DEMAND,
    SNAP_START,
    Answer,
    EnvironmentSpec,
    FunctionError,
    Invocation,
    SystemFault,
)
from fnrunner.runtimes.image import NAME as IMAGE
from fnrunner.runtimes.runtime import RuntimesError
from fnrunner.runtimes.variables import endpoint_variables
from fnrunner.sandbox.oci.store import ImageStore
from fnrunner.telemetry import context as trace_context
from fnrunner.telemetry.tracing import Span, Tracing
from fnrunner.worker.execution import Execution
from fnrunner.worker.live import Live, LiveCode
from fnrunner.worker.pool import Pool
from fnrunner.worker.precompile import Package, Precompiler
from fnrunner.worker.reply_stream import ReplyStream
from fnrunner.worker.starting import ScalingLimited

log = logging.getLogger(__name__)

PRIVATE = "/tmp"  # noqa: S108 - what each environment has of its own


Credentials = Callable[[str, str], Awaitable[Mapping[str, str]]]
"""Of a function, by its name and its role's ARN."""


async def _no_credentials(_: str, __: str) -> Mapping[str, str]:
    return _NONE


_NONE: Mapping[str, str] = MappingProxyType({})


class EnvironmentUnreadable(Exception):
    """The function's environment variables cannot be decrypted. The message names the key and the remedy."""


class Specs:
    """Makes environment specs and keeps the newest of each version of a function. ``cache`` is where code is unpacked.

    Every function sees the directories of all buckets: there is no role yet that could say which it may see.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        cache: Path,
        home: Home,
        *,
        mounts: tuple[str, ...] = (),
        isolated: bool = False,
        live: LiveCode | None = None,
        credentials: Credentials | None = None,
        images: ImageStore | None = None,
        precompiler: Precompiler | None = None,
        api_url: str = "",
    ) -> None:
        """``mounts`` are directories that every function sees. Where functions are not ``isolated``, they see those that
        are not below ``/tmp`` anyway. ``live`` is code that is newer than what is deployed.
        ``precompiler`` is asked to compile what has been unpacked.
        ``credentials`` gives the variables with the keys of a function's role, the same ones until there are new ones;
        they are good for the API at ``api_url``, which is empty where functions cannot reach it.
        """
        self._live = live or LiveCode()
        self._mounts = mounts
        self._isolated = isolated
        self._catalogue = catalogue
        self._cache = cache
        self._home = home
        self._credentials = credentials or _no_credentials
        self._precompiler = precompiler
        self._api_url = api_url
        self._images = images or ImageStore(cache.parent / "images")
        self._known: dict[tuple[str, str], tuple[str, tuple[Bucket, ...], Live | None, EnvironmentSpec]] = {}

    async def of(self, function: Function) -> EnvironmentSpec:
        """Raises the artifact store's errors: the code is not there, or damaged."""
        if function.environment_error:
            raise EnvironmentUnreadable(function.environment_error)
        buckets = self._catalogue.snapshot.buckets
        versioned = function.name, function.version
        live = self._live.of(function)
        known = self._known.get(versioned)
        credentials = await self._credentials(function.name, function.role)
        if (
            known is not None
            and known[:3] == (function.revision_id, buckets, live)
            and known[3].credentials is credentials
        ):
            return known[3]
        image = await self._images.ready(function.image) if function.image is not None else None
        if image is not None:
            directory, code = Path(image.root), function.code.digest
        elif live is not None:
            directory, code = Path(live.directory), f"live {live.generation}"
        else:
            directory, code = await self.unpacked(function.code.digest), function.code.digest
        layers = await self._layers(function)
        spec = self._make(function, directory, code, layers, buckets, credentials)
        if image is None and live is None:
            self._precompile(function.runtime, directory, layers)
        if image is not None:
            spec = _of_image(spec, image)
        self._known[versioned] = (function.revision_id, buckets, live, spec)
        return spec

    async def unpacked(self, digest: str) -> Path:
        """Where the code lies that has this digest. Raises the artifact store's errors."""
        return await self._catalogue.artifacts.unpacked(digest, self._cache)

    def _precompile(self, runtime: str, directory: Path, layers: str) -> None:
        if self._precompiler is not None:
            self._precompiler.request(Package(directory, runtime))
            if layers:
                self._precompiler.request(Package(Path(layers), runtime, seen="/opt"))

    async def _layers(self, function: Function) -> str:
        """Where the function's layers lie, merged; empty where it has none."""
        digests = [layer.code.digest for layer in function.layers]
        return str(await self._catalogue.artifacts.merged(digests, self._cache)) if digests else ""

    async def sweep(self, running: Iterable[str]) -> int:
        """Remove unpacked code that no function has and no environment runs; ``running`` are those directories.

        How much was removed. Raises the artifact store's errors.
        """
        functions = self._catalogue.snapshot.functions.values()
        in_use = {function.code.digest for function in functions}
        in_use |= {name_of([layer.code.digest for layer in function.layers]) for function in functions}
        in_use |= {Path(directory).name for directory in running}
        in_use |= {Path(directory).parent.name for directory in running}
        await self._images.sweep(in_use, KEEP)
        return await self._catalogue.artifacts.sweep(self._cache, in_use)

    def forget(self, name: str, version: str) -> None:
        """The version is gone."""
        self._known.pop((name, version), None)

    def _make(
        self,
        function: Function,
        directory: Path,
        code: str,
        layers: str,
        buckets: tuple[Bucket, ...],
        credentials: Mapping[str, str],
    ) -> EnvironmentSpec:
        """``code`` names what is in the directory."""
        spec = EnvironmentSpec(
            function=function.name,
            version=function.version,
            runtime=function.runtime,
            handler=function.handler,
            code_directory=str(directory),
            layers_directory=layers,
            memory_mb=function.memory_mb,
            ephemeral_storage_mb=function.ephemeral_storage_mb,
            timeout=function.timeout,
            key="",
            log_group=function.log_group or f"/aws/lambda/{function.name}",
            account=self._home.account,
            region=self._home.region,
            variables={**endpoint_variables(self._api_url, function.environment), **function.environment},
            credentials=credentials,
            log_format=function.log_format,
            initialization_type=SNAP_START if function.is_snapped else ON_DEMAND,
            application_log_level=function.application_log_level,
            # what is visible anyway is left out: a new bucket must not cost every environment then
            directories=tuple(
                directory
                for directory in dict.fromkeys((*(b.directory for b in buckets), *self._mounts))
                if self._isolated or Path(directory).is_relative_to(PRIVATE)
            ),
        )
        # what the environment cannot see (reserved concurrency, tags …) does not change the key
        seen = f"{code}{spec!r}{sorted(spec.variables.items())}{sorted(credentials.items())}"
        return replace(spec, key=hashlib.sha256(seen.encode()).hexdigest())


def _of_image(spec: EnvironmentSpec, image: Image) -> EnvironmentSpec:
    """What the image sets changes the environment, and its key."""
    seen = f"{spec.key}{image!r}{sorted(image.variables.items())}"
    return replace(spec, runtime=IMAGE, image=image, key=hashlib.sha256(seen.encode()).hexdigest())


class Invoker:
    """Runs one execution that holds a slot. Raises only ScalingLimited: what goes wrong is an outcome."""

    def __init__(
        self,
        *,
        pool: Pool,
        specs: Specs,
        ledger: Ledger,
        tracing: Tracing,
        home: Home,
        now: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._specs = specs
        self._ledger = ledger
        self._tracing = tracing
        self._home = home
        self._now = now

    async def run(self, execution: Execution, stream: ReplyStream | None = None) -> Execution:
        """``stream`` takes the answer in pieces, if the function makes it so.

        Raises ScalingLimited: nothing has run, and ``start_allowed`` waits until it is worth while to try again.
        """
        function = execution.function
        assert function is not None
        try:
            spec = await self._specs.of(function)
            kept = execution.lease is not None and execution.lease.own_version != ""
            environment = await self._pool.take(spec, kept=kept)
        except ScalingLimited:
            raise
        except RuntimesError as error:
            log.error("no environment for %s: %s", function.name, error)
            return replace(execution, answer=Answer(SystemFault(type(error).__name__, str(error))))
        except Exception as error:
            # the host's fault, not the function's: it is tried again later and charges nothing
            log.exception("no environment for %s", function.name)
            return replace(execution, answer=Answer(SystemFault(type(error).__name__, str(error))))
        span = self._span(execution, function)
        try:
            answer = await environment.invoke(
                self._invocation(execution, function, span),
                on_log=lambda text: self._note(execution, environment.log_stream, text),
                on_chunk=stream.send if stream else None,
                gone=stream.gone if stream else None,
            )
            self._describe(span, answer)
        finally:
            rest = self._pool.give_back(environment)
            span.end()
        return replace(execution, spec=spec, answer=answer, rest=rest)

    async def start_allowed(self, function: str, timeout: timedelta) -> bool:
        """See :meth:`~fnrunner.worker.pool.Pool.start_allowed`."""
        return await self._pool.start_allowed(function, timeout)

    def _invocation(self, execution: Execution, function: Function, span: Span) -> Invocation:
        envelope = execution.envelope
        deadline = self._now() + function.timeout
        return Invocation(
            request_id=envelope.id,
            payload=envelope.payload,
            deadline_ms=int(deadline.timestamp() * 1000),
            invoked_arn=envelope.invoked_arn or self._home.function(function.name, envelope.qualifier),
            client_context=envelope.client_context,
            xray=self._xray(envelope, span),
            traceparent=span.carrier.get("traceparent", ""),
            tracestate=span.carrier.get("tracestate", ""),
        )

    @staticmethod
    def _xray(envelope: Envelope, span: Span) -> str:
        """Lambda's form of the span's context; the envelope has it already where no span is recorded."""
        known = bool(envelope.xray) and span.carrier.get("traceparent") == envelope.trace.get("traceparent")
        header = envelope.xray if known else trace_context.to_xray(trace_context.of(span.carrier))
        # the first of a chain begins to count: its SDK passes the header on
        return lineage.joined(header, lineage.of(envelope.xray) or lineage.counted("", envelope.function))

    def _span(self, execution: Execution, function: Function) -> Span:
        envelope = execution.envelope
        return self._tracing.function(
            function.name,
            execution.span.carrier,
            attributes={
                "faas.name": function.name,
                "faas.trigger": envelope.trigger,
                "faas.invocation_id": envelope.id,
                "faas.version": function.version,
                "aws.lambda.invoked_arn": envelope.invoked_arn
                or self._home.function(function.name, envelope.qualifier),
                "fnrunner.attempt": envelope.attempt + 1,
            },
        )

    @staticmethod
    def _describe(span: Span, answer: Answer) -> None:
        report = answer.report
        span.set(faas__coldstart=report.init_ms is not None)
        if report.init_ms is not None:
            span.set(fnrunner__cold_reason=report.cold_reason, fnrunner__init_ms=report.init_ms)
            if report.imports:
                span.set(fnrunner__imports=report.imports)
        if isinstance(answer.outcome, FunctionError):
            span.fail(answer.outcome.error_type, answer.outcome.message)

    def _note(self, execution: Execution, log_stream: str, text: bytes) -> None:
        self._ledger.note_log(
            LogChunk(
                function=execution.envelope.function,
                event_id=execution.envelope.id,
                log_stream=log_stream,
                at_ms=int(self._now().timestamp() * 1000),
                text=text.decode("utf-8", "replace"),
            )
        )
