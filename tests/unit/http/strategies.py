"""Requests, headers and answers as Hypothesis makes them."""

from __future__ import annotations

from hypothesis import strategies as st

from sources.http.request import Request, in_ascii, readable_headers

TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
names = st.text(TOKEN, min_size=1, max_size=12)
raw_values = st.binary(max_size=30)
values = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="".join(map(chr, (*range(9), *range(10, 32), 127)))),
    max_size=30,
)
raw_queries = st.binary(max_size=60)
requests = st.builds(
    lambda method, path, query, headers, body: Request(
        method=method,
        raw_path="/" + in_ascii(path),
        raw_query=in_ascii(query),
        headers=readable_headers((name.encode(), value) for name, value in headers),
        body=body,
        source_ip="127.0.0.1",
    ),
    st.sampled_from(["GET", "POST", "OPTIONS"]),
    st.binary(max_size=20),
    raw_queries,
    st.lists(
        st.tuples(names | st.sampled_from(["cookie", "content-type", "x-forwarded-for", "connection"]), raw_values),
        max_size=8,
    ),
    st.binary(max_size=100),
)
