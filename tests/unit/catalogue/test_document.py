from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from hypothesis import given
from hypothesis import strategies as st

from fnrunner.catalogue import document
from fnrunner.model.function import Code, EventInvokeConfig, Function, Notification, State, UpdateStatus

texts = st.text(max_size=20)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
pairs = st.dictionaries(texts, texts, max_size=4).map(MappingProxyType)

functions = st.builds(
    Function,
    name=texts, runtime=texts, handler=texts, role=texts, version=texts, description=texts,
    code=st.builds(Code, digest=texts, size_bytes=st.integers(0, 10**9)),
    timeout=st.integers(1, 900).map(lambda seconds: timedelta(seconds=seconds)),
    memory_mb=st.integers(128, 10_240), ephemeral_storage_mb=st.integers(512, 10_240), architecture=texts,
    environment=pairs, has_environment=st.booleans(), tags=pairs, dead_letter_arn=texts,
    reserved_concurrency=st.none() | st.integers(0, 1000), log_format=texts, application_log_level=texts,
    system_log_level=texts, log_group=texts, tracing_mode=texts, state=st.sampled_from(State),
    update_status=st.sampled_from(UpdateStatus), last_modified=moments, revision_id=texts,
)  # fmt: skip
configs = st.builds(
    EventInvokeConfig,
    function=texts, qualifier=texts, max_retries=st.none() | st.integers(0, 2),
    max_age=st.none() | st.integers(60, 21_600).map(lambda seconds: timedelta(seconds=seconds)),
    on_success=texts, on_failure=texts, last_modified=moments,
)  # fmt: skip
notifications = st.builds(
    Notification,
    id=texts, bucket=texts, function=texts, qualifier=texts, events=st.lists(texts).map(tuple), prefix=texts,
    suffix=texts,
)  # fmt: skip


@given(functions)
def test_a_function_comes_back_whole(function: Function) -> None:
    assert document.load_function(document.dump_function(function)) == function


@given(configs)
def test_an_event_invoke_configuration_comes_back_whole(config: EventInvokeConfig) -> None:
    assert document.load_event_invoke_config(document.dump_event_invoke_config(config)) == config


@given(notifications)
def test_a_notification_comes_back_whole(notification: Notification) -> None:
    assert document.load_bucket_notification(document.dump_bucket_notification(notification)) == notification


@given(functions)
def test_a_document_is_ascii_without_nul_whatever_the_texts_hold(function: Function) -> None:
    text = document.dump_function(function)
    assert text.isascii()
    assert "\0" not in text


def test_keys_of_a_newer_release_are_passed_over_and_missing_ones_take_defaults() -> None:
    text = json.dumps(
        {
            "name": "f", "runtime": "python3.12", "handler": "a.b", "role": "r", "of_a_newer_release": True,
            "code": {"digest": "d", "size_bytes": 1, "bucket": "b"},
        }
    )  # fmt: skip
    assert document.load_function(text) == Function(
        name="f", runtime="python3.12", handler="a.b", role="r", code=Code("d", 1)
    )
