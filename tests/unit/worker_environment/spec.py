"""A spec for tests that start nothing."""

from __future__ import annotations

from datetime import timedelta

from fnrunner.model.invocation import EnvironmentSpec

SPEC = EnvironmentSpec(
    function="f",
    version="7",
    runtime="python3.11",
    handler="f.handler",
    code_directory="/code",
    memory_mb=128,
    ephemeral_storage_mb=512,
    timeout=timedelta(seconds=3),
    key="key",
    log_group="/aws/lambda/f",
    account="000000000000",
    region="us-east-1",
)
