"""A worker made of its parts."""

from __future__ import annotations

import asyncio
import time

from fnrunner.app.parts import Parts, backoff, now, now_ms
from fnrunner.auth.role_session import RoleSessions
from fnrunner.concurrency.accounting import room_for_newcomers
from fnrunner.concurrency.fleet import FleetGate
from fnrunner.concurrency.permits import LocalPermits
from fnrunner.concurrency.scaling import Starts
from fnrunner.model.invocation import EnvironmentSpec
from fnrunner.runtimes.choice import Runtimes
from fnrunner.runtimes.python import BOOTSTRAP
from fnrunner.sandbox.choice import on_this_host
from fnrunner.sandbox.network_wish import api_url, network_wish
from fnrunner.sandbox.oci.sandbox import ContainerSandbox
from fnrunner.sandbox.ownership import Owner
from fnrunner.worker.environment import FREEZE_AFTER, Environment
from fnrunner.worker.executor import Executor, Waits
from fnrunner.worker.intake import Intake
from fnrunner.worker.invoker import Invoker, Specs
from fnrunner.worker.live import LiveCode
from fnrunner.worker.pool import Pool
from fnrunner.worker.precompile import Precompiler
from fnrunner.worker.provisioner import Provisioner
from fnrunner.worker.registry import Registry
from fnrunner.worker.report import Reporter
from fnrunner.worker.settlement import Settlement
from fnrunner.worker.shares import Shares
from fnrunner.worker.starting import StartLine
from fnrunner.worker.stranded import Stranded
from fnrunner.worker.supervisor import Supervisor
from fnrunner.worker.suspects import Suspects
from fnrunner.worker.watch import Watch


async def make(parts: Parts, live: LiveCode, *, api_here: bool = False) -> Supervisor:
    """A worker that has not started. What dead workers of this host left behind is removed first. ``live`` is for code that
    is newer than what is deployed. ``api_here``: functions may call the API where the settings say that it listens.
    """
    settings = parts.settings
    runtime = Runtimes(lets_stand_in=settings.stand_in)
    sandbox = on_this_host(
        settings.data_dir / "environments",
        settings.sandbox,
        cpu_limit=settings.cpu_limit,
        network=network_wish(settings, api_here=api_here),
    )
    containers = ContainerSandbox.beside(sandbox)
    await asyncio.to_thread(containers.sweep)
    await asyncio.to_thread(sandbox.sweep)
    sandbox.warm(runtime.runtime_directory, BOOTSTRAP)

    def environment(spec: EnvironmentSpec, cold_reason: str) -> Environment:
        freeze_after = FREEZE_AFTER if settings.freeze else None
        place = containers if spec.image else sandbox
        return Environment(spec, place, runtime, cold_reason=cold_reason, freeze_after=freeze_after)

    newcomers = room_for_newcomers(settings.worker_capacity)
    slots = LocalPermits(settings.worker_capacity, newcomers=newcomers)
    gate = FleetGate(parts.broker.permits, slots)
    scratch = settings.data_dir / "compiling" / Owner.this_process().name("code")
    precompiler = Precompiler(sandbox, runtime, scratch)
    specs = Specs(
        parts.catalogue,
        settings.data_dir / "code",
        settings.home,
        mounts=settings.mounts,
        isolated=bool(sandbox.describe().namespaces),
        live=live,
        precompiler=precompiler,
        credentials=RoleSessions(parts.iam, now).of if parts.iam is not None else None,
        api_url=api_url(settings) if parts.iam is not None and api_here else "",
    )
    line = StartLine(Starts(settings.scaling_rate), time.monotonic)
    pool = Pool(
        environment,
        capacity=settings.worker_capacity + newcomers,
        idle_timeout=settings.idle_timeout,
        monotonic=time.monotonic,
        line=line,
        most_age=settings.most_age,
        on_closed=sandbox.wind_down,
        on_outdated=sandbox.forget,
    )
    provisioner = Provisioner(
        pool=pool, specs=specs, permits=slots, catalogue=parts.catalogue, monotonic=time.monotonic
    )
    shares = Shares(
        catalogue=parts.catalogue,
        permits=slots,
        provisioner=provisioner,
        line=line,
        worker_id=parts.name,
        capacity=settings.worker_capacity,
    )
    registry = Registry(
        parts.store,
        worker_id=parts.name,
        zone=settings.zone,
        capacity=settings.worker_capacity,
        now=now,
        shares=shares,
    )
    reporter = Reporter(parts.metrics)
    destinations = parts.destinations()
    parts.metrics.destination_failures.set_function(lambda: destinations.told.destination_failures)
    parts.metrics.dead_letter_errors.set_function(lambda: destinations.told.dead_letter_errors)
    settlement = Settlement(
        broker=parts.broker,
        catalogue=parts.catalogue,
        destinations=destinations,
        ledger=parts.ledger,
        tracing=parts.tracing,
        worker_id=parts.name,
        retry_delays=settings.retry_delays,
        backoff=backoff(settings),
    )
    executor = Executor(
        catalogue=parts.catalogue,
        gate=gate,
        invoker=Invoker(
            pool=pool, specs=specs, ledger=parts.ledger, tracing=parts.tracing, home=settings.home, now=now
        ),
        ledger=parts.ledger,
        settlement=settlement,
        suspects=Suspects(parts.store, registry, now=now, monotonic=time.monotonic),
        tracing=parts.tracing,
        reporter=reporter,
        waits=Waits.usual(settings.sync_wait),
        now_ms=now_ms,
    )
    intake = Intake(parts.broker, executor.execute, capacity=settings.worker_capacity, unreserved=lambda: shares.room)
    supervisor = Supervisor(
        catalogue=parts.catalogue,
        gate=gate,
        intake=intake,
        watch=Watch(parts.broker, intake, Stranded(parts.store, clock=now_ms), monotonic=time.monotonic),
        pool=pool,
        provisioner=provisioner,
        specs=specs,
        precompiler=precompiler,
        registry=registry,
        reporter=reporter,
        former=parts.former_functions,
        metrics=parts.metrics,
        drain_timeout=settings.drain_timeout,
        runtimes=await asyncio.to_thread(runtime.run_by),
    )
    live.join(
        renew=supervisor.renew, unpacked=specs.unpacked, compiled=precompiler.wait_for, in_use=pool.code_directories
    )
    return supervisor
