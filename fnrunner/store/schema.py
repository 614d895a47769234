"""Every table. Times are epoch milliseconds; JSON documents are text, so that both databases store the same bytes."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from fnrunner.store.sealing import SealedDocument, SealedRecord

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_id = BigInteger().with_variant(Integer, "sqlite")

function = Table(
    "function",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("revision_id", String(36), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("document", SealedDocument, nullable=False),
    comment="document: the Function as JSON; revision_id guards concurrent updates",
)

publication = Table(
    "publication",
    metadata,
    Column("function", String(64), primary_key=True),
    Column("number", Integer, nullable=False),
    Column("revision_id", String(36), nullable=False),
    comment="the last version number given, never to be given again, and the revision of $LATEST that it left behind: "
    "while that is current, nothing has changed since",
)

alias = Table(
    "alias",
    metadata,
    Column("function", String(64), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("document", Text, nullable=False),
)

event_invoke_config = Table(
    "event_invoke_config",
    metadata,
    Column("function", String(64), primary_key=True),
    Column("qualifier", String(128), primary_key=True),
    Column("document", Text, nullable=False),
)

bucket = Table(
    "bucket",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("directory", Text, nullable=False),
)

notification = Table(
    "notification",
    metadata,
    Column("function", String(64), primary_key=True),
    Column("id", String(255), primary_key=True),
    Column("bucket", String(63), nullable=False, index=True),
    Column("document", Text, nullable=False),
    comment="ids are the user's: two functions may use the same one",
)

trigger = Table(
    "trigger",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("id", String(512), primary_key=True),
    Column("function", String(64), nullable=False, index=True),
    Column("document", Text, nullable=False),
    comment="kind: mapping, url, schedule, subscription, route; document: the value as JSON",
)

layer = Table(
    "layer",
    metadata,
    Column("name", String(140), primary_key=True),
    Column("number", Integer, nullable=False),
    comment="the last version number given, never to be given again, even when no version is left",
)

layer_version = Table(
    "layer_version",
    metadata,
    Column("layer", String(140), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("document", Text, nullable=False),
)

policy = Table(
    "policy",
    metadata,
    Column("kind", String(8), primary_key=True),
    Column("name", String(140), primary_key=True),
    Column("qualifier", String(128), primary_key=True),
    Column("revision_id", String(36), nullable=False),
    Column("document", Text, nullable=False),
    comment="kind: function, layer; qualifier: empty for the function itself, else its version or alias, or the layer's "
    "version; document: the policy as JSON, in IAM's language",
)

function_setting = Table(
    "function_setting",
    metadata,
    Column("function", String(64), primary_key=True),
    Column("name", String(32), primary_key=True),
    Column("value", String(255), nullable=False),
    comment="what belongs to a function and to none of its versions; name: code-signing (an ARN), recursion",
)

code_signing_config = Table(
    "code_signing_config",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("document", Text, nullable=False),
)

signing_profile = Table(
    "signing_profile",
    metadata,
    Column("arn", String(255), primary_key=True),
    Column("document", Text, nullable=False),
    comment="who may sign code: the public key of each version of a signing profile",
)

resource_tag = Table(
    "resource_tag",
    metadata,
    Column("resource", String(255), primary_key=True),
    Column("document", Text, nullable=False),
    comment="tags of what is no function; resource: the end of its ARN, such as event-source-mapping:UUID",
)

stack = Table(
    "stack",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("holder", String(255), nullable=False),
    Column("held_until_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("document", SealedRecord, nullable=False),
    comment="what has been deployed as one; document: the deployer's, as JSON; holder: who may write it until held_until_ms",
)

broker_queue = Table(
    "broker_queue",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("document", Text, nullable=False, server_default="{}"),
    comment="queues and streams that users created, so that they can be listed",
)

seen_object = Table(
    "seen_object",
    metadata,
    Column("bucket", String(63), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("inode", BigInteger, nullable=False),
    Column("etag", String(64), nullable=False),
    comment="the watcher's checkpoint: what has been announced of each object",
)

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("source", String(255), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("document", Text, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
)

accepted = Table(
    "accepted",
    metadata,
    Column("id", _id, primary_key=True, autoincrement=True),
    Column("event_id", String(64), nullable=False, index=True),
    Column("function", String(64), nullable=False),
    Column("qualifier", String(128), nullable=False),
    Column("source", String(255), nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("traceparent", String(64), nullable=False),
    Index(None, "function", "at_ms"),
    comment="one row for each event whose acceptance was answered",
)

attempt = Table(
    "attempt",
    metadata,
    Column("id", _id, primary_key=True, autoincrement=True),
    Column("event_id", String(64), nullable=False),
    Column("function", String(64), nullable=False),
    Column("version", String(64), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("number", Integer, nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("error_type", String(255), nullable=False),
    Column("error_message", Text, nullable=False),
    Column("retry_in_ms", BigInteger),
    Column("duration_ms", Float, nullable=False),
    Column("billed_ms", Integer, nullable=False),
    Column("memory_mb", Integer, nullable=False),
    Column("max_memory_mb", Integer, nullable=False),
    Column("init_ms", Float),
    Column("cold_reason", String(16), nullable=False),
    Column("imports", Text, nullable=False, server_default=""),
    Column("runtime_version", String(64), nullable=False, server_default=""),
    Column("log_stream", String(128), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("worker", String(128), nullable=False),
    Column("traceparent", String(64), nullable=False),
    Index(None, "event_id", "function", "outcome", "kind"),
    Index(None, "function", "ended_ms"),
    comment="one row for each run or refusal; kind: event, request; "
    "outcome: succeeded, failed, throttled, faulted, died, expired",
)

log = Table(
    "log",
    metadata,
    Column("id", _id, primary_key=True, autoincrement=True),
    Column("function", String(64), nullable=False),
    Column("event_id", String(64), nullable=False, index=True),
    Column("log_stream", String(128), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("text", Text, nullable=False),
    Index(None, "function", "at_ms"),
    comment="what functions wrote; START, END and REPORT lines are made from the attempts when shown",
)

dead_letter = Table(
    "dead_letter",
    metadata,
    Column("id", _id, primary_key=True, autoincrement=True),
    Column("event_id", String(64), nullable=False),
    Column("redrives", Integer, nullable=False),
    Column("function", String(64), nullable=False),
    Column("reason", String(64), nullable=False),
    Column("error_type", String(255), nullable=False),
    Column("error_message", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("marked_ms", BigInteger),
    Column("envelope", LargeBinary, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("traceparent", String(64), nullable=False),
    UniqueConstraint("event_id", "redrives", "function"),
    Index(None, "function", "state", "id"),
    Index(
        None, "marked_ms", sqlite_where=text("marked_ms IS NOT NULL"), postgresql_where=text("marked_ms IS NOT NULL")
    ),
    comment="state: held, redriving, redriven, purged; marked_ms: since when it is redriving; "
    "reason: a destination record's condition, or why it could not be read",
)

settled_total = Table(
    "settled_total",
    metadata,
    Column("function", String(64), primary_key=True),
    Column("succeeded", BigInteger, nullable=False),
    Column("dead_lettered", BigInteger, nullable=False),
    Column("expired", BigInteger, nullable=False),
    Column("duplicates", BigInteger, nullable=False),
    comment="finished events whose rows have been pruned, so that the audit still balances",
)

worker = Table(
    "worker",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_start", String(32), nullable=False),
    Column("boot_id", String(64), nullable=False),
    Column("zone", String(64), nullable=False),
    Column("capacity", Integer, nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    Column("heartbeat_ms", BigInteger, nullable=False),
    Column("stopped_ms", BigInteger),
    Column("died_ms", BigInteger),
    Column("in_flight", Text, nullable=False),
    Column("share", Integer, nullable=False, server_default="0"),
    comment="process_start: clock ticks from the boot; stopped_ms: it drained; died_ms: it was found dead, not drained",
)

provisioned_concurrency = Table(
    "provisioned_concurrency",
    metadata,
    Column("function", String(64), primary_key=True),
    Column("qualifier", String(128), primary_key=True),
    Column("requested", Integer, nullable=False),
    Column("modified_ms", BigInteger, nullable=False),
    comment="how many environments of a version or alias are asked for, over all workers",
)

prepared = Table(
    "prepared",
    metadata,
    Column("worker", String(128), primary_key=True),
    Column("function", String(64), primary_key=True),
    Column("qualifier", String(128), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("share", Integer, nullable=False),
    Column("available", Integer, nullable=False),
    Column("reason", String(255), nullable=False),
    comment="what each worker holds of the provisioned concurrency, how much of it is initialised, and why not more",
)

process = Table(
    "process",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("roles", String(64), nullable=False),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("zone", String(64), nullable=False),
    Column("capacity", Integer, nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    Column("heartbeat_ms", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    comment="who runs, and how it is: document has draining, problems, running and events by function; the row goes with "
    "the process, or a day after its last heartbeat",
)

trial = Table(
    "trial",
    metadata,
    Column("event_id", String(64), primary_key=True),
    Column("redrives", Integer, primary_key=True),
    Column("worker", String(128), nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    Column("deaths", Integer, nullable=False),
    comment="a suspect that runs alone: if the worker named here dies, the event did it",
)

write_mark = Table(
    "write_mark",
    metadata,
    Column("writer", String(32), primary_key=True),
    Column("attempt", String(32), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    comment="the last transaction that each writer committed; of use as long as the writer lives",
)

iam_identity = Table(
    "iam_identity",
    metadata,
    Column("kind", String(8), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("document", Text, nullable=False),
    comment="kind: user, role",
)

iam_policy = Table(
    "iam_policy",
    metadata,
    Column("arn", String(2048), primary_key=True),
    Column("document", Text, nullable=False),
    comment="policies that this account manages, with their versions",
)

iam_inline_policy = Table(
    "iam_inline_policy",
    metadata,
    Column("kind", String(8), primary_key=True),
    Column("owner", String(64), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("document", Text, nullable=False),
    comment="owner: the user or role whose policy it is",
)

iam_attachment = Table(
    "iam_attachment",
    metadata,
    Column("kind", String(8), primary_key=True),
    Column("owner", String(64), primary_key=True),
    Column("arn", String(2048), primary_key=True),
    comment="which managed policies users and roles have",
)

iam_change = Table(
    "iam_change",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("counter", BigInteger, nullable=False),
    comment="one row; counts changes, so that other processes see that there are some",
)

iam_access_key = Table(
    "iam_access_key",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("owner", String(64), nullable=False, index=True),
    Column("active", Integer, nullable=False),
    Column("secret", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    comment="secret: encrypted",
)

iam_session = Table(
    "iam_session",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("document", Text, nullable=False),
    Column("secret", Text, nullable=False),
    Column("expires_ms", BigInteger, nullable=False, index=True),
    comment="temporary credentials; document: whose they are; secret: encrypted, with the session's token",
)

encryption_key = Table(
    "encryption_key",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("alias", String(256), nullable=False),
    Column("document", Text, nullable=False),
    UniqueConstraint("alias"),
    comment="document: its state, and each of its versions, wrapped by the master key",
)

control_call = Table(
    "control_call",
    metadata,
    Column("id", _id, primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False, index=True),
    Column("request_id", String(64), nullable=False, index=True),
    Column("principal", String(2048), nullable=False),
    Column("access_key", String(128), nullable=False),
    Column("service", String(32), nullable=False),
    Column("operation", String(128), nullable=False),
    Column("resource", String(2048), nullable=False),
    Column("parameters", Text, nullable=False),
    Column("source_ip", String(64), nullable=False),
    Column("user_agent", String(512), nullable=False),
    Column("status", Integer, nullable=False),
    Column("error_code", String(128), nullable=False),
    comment="who changed or asked what, and what came of it; rows are only added, and go when they are too old",
)
