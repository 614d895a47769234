from hypothesis import given
from hypothesis import strategies as st

from fnrunner.telemetry import context
from fnrunner.telemetry.tracing import Untraced

contexts = st.builds(
    context.TraceContext,
    st.text("0123456789abcdef", min_size=32, max_size=32).filter(lambda t: set(t) != {"0"}),
    st.text("0123456789abcdef", min_size=16, max_size=16).filter(lambda t: set(t) != {"0"}),
    st.booleans(),
)


@given(contexts)
def test_both_forms_carry_the_same_context(c: context.TraceContext) -> None:
    assert context.from_traceparent(context.to_traceparent(c)) == c
    assert context.from_xray(context.to_xray(c)) == c


@given(st.text(max_size=80))
def test_no_text_breaks_the_readers(text: str) -> None:
    context.from_traceparent(text)
    context.from_xray(text)
    assert len(context.of({"traceparent": text}, text).trace_id) == 32


def test_an_all_zero_context_starts_a_new_trace() -> None:
    assert context.from_traceparent(f"00-{'0' * 32}-{'1' * 16}-01") is None
    assert context.from_traceparent(f"00-{'1' * 32}-{'0' * 16}-01") is None


def test_events_have_a_trace_id_even_when_nothing_is_recorded() -> None:
    tracing = Untraced()
    first = tracing.accept("a", {}, server=True, attributes={})
    second = tracing.publish("q", first.carrier, message_id="1", routing_key="q")
    assert context.from_traceparent(first.carrier["traceparent"]) is not None
    assert second.carrier == first.carrier
