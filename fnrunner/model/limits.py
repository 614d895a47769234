"""Lambda's limits, each with its unit in the name. Source: Lambda quotas; MB means MiB throughout."""

from __future__ import annotations

from datetime import timedelta

MB = 1024 * 1024

SYNC_PAYLOAD_BYTES = 6 * MB
RESPONSE_PAYLOAD_BYTES = 6 * MB + 100
ASYNC_PAYLOAD_BYTES = 1 * MB
CLIENT_CONTEXT_BYTES = 3583
REQUEST_BODY_BYTES = 70_167_211
ZIP_BYTES = 50 * MB
UNZIPPED_BYTES = 250 * MB
LAYERS = 5
POLICY_BYTES = 20 * 1024
ENVIRONMENT_BYTES = 4 * 1024
MEMORY_MB = (128, 10_240)
TIMEOUT_S = (1, 900)
EPHEMERAL_STORAGE_MB = (512, 10_240)
LOG_TAIL_BYTES = 4 * 1024
MAX_RETRIES = (0, 2)
EVENT_AGE_S = (60, 21_600)
DEFAULT_EVENT_AGE = timedelta(hours=6)
DEFAULT_RETRIES = 2
ACCOUNT_CONCURRENCY = 1_000
MOST_ACCOUNT_CONCURRENCY = 1_000_000
"""The default, and what it may be raised to."""
UNRESERVED_MINIMUM = 100
SCALING_RATE = 1_000
SCALING_PERIOD = timedelta(seconds=10)
"""A function gets at most so many new environments in each such period."""
DESCRIPTION_CHARS = 256
HANDLER_CHARS = 128
TAGS = 50
INIT_TIMEOUT = timedelta(seconds=10)
OPEN_FILES = 1024
STREAMED_CHUNK_BYTES = 128 * 1024
"""The largest piece of a streamed answer, and what a worker holds of one before it stops reading. A streamed answer as a
whole has no limit here, in size or in bandwidth; Lambda's are 200 MB, and 2 MB/s after the first 6 MB."""
STREAMED_WINDOW = 16
"""How many pieces of one streamed answer are on their way to whoever asked. It bounds what a slow reader costs."""
STREAMED_FRAME_BYTES = 64 * 1024
CONTENT_TYPE_CHARS = 256
PROCESSES = 1024

CAP_PATIENCE = timedelta(milliseconds=250)
"""How long a request may wait for a slot under its function's cap. Slots of a worker that died are free again by then, so
that nobody is throttled for what no longer runs."""

LATEST = "$LATEST"
