from __future__ import annotations

import pytest

from fnrunner.store import schema
from fnrunner.store.engine import Store
from fnrunner.store.errors import StoreClosed, StoreUnavailable

SQLITE = "sqlite:////nowhere/store.sqlite"
POSTGRESQL = "postgresql://user:hunter2@host/name"


@pytest.mark.parametrize(("url", "dialect"), [(SQLITE, "sqlite"), (POSTGRESQL, "postgresql")])
def test_the_url_decides_the_dialect(url: str, dialect: str) -> None:
    assert Store(url).dialect == dialect


def test_the_password_is_not_shown() -> None:
    store = Store(POSTGRESQL)
    assert store.where == "postgresql+psycopg://user:***@host/name"
    assert "hunter2" not in repr(store)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://host/name", "nonsense"])
def test_a_store_that_connections_cannot_share_is_refused(url: str) -> None:
    with pytest.raises(StoreUnavailable):
        Store(url)


@pytest.mark.parametrize("url", [SQLITE, POSTGRESQL])
def test_an_upsert_overwrites_all_but_the_keys(url: str) -> None:
    statement = str(Store(url).upsert(schema.bucket, ["name"]))
    assert statement.endswith("ON CONFLICT (name) DO UPDATE SET directory = excluded.directory")


@pytest.mark.parametrize("url", [SQLITE, POSTGRESQL])
def test_an_upsert_makes_the_changes_that_it_is_given(url: str) -> None:
    statement = str(Store(url).upsert(schema.trial, ["event_id", "redrives"], {"deaths": schema.trial.c.deaths + 1}))
    assert "ON CONFLICT (event_id, redrives) DO UPDATE SET deaths = (trial.deaths + " in statement


@pytest.mark.parametrize("url", [SQLITE, POSTGRESQL])
def test_an_insert_that_ignores_passes_over_every_conflict(url: str) -> None:
    assert str(Store(url).insert_or_ignore(schema.bucket)).endswith("ON CONFLICT DO NOTHING")


async def test_a_store_that_was_not_started_says_so() -> None:
    with pytest.raises(StoreClosed):
        await Store(SQLITE).read(lambda connection: None)
