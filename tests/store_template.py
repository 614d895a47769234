"""The store of a new installation, made once a process and copied: making a schema takes longer than most tests do."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from fnrunner.store.engine import Store


def make_schema(url: str) -> None:
    """As the first start does, in an event loop of its own."""

    async def start() -> None:
        store = Store(url)
        await store.start()
        await store.close()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, start()).result()


def new_sqlite_store(path: Path) -> str:
    """The URL of a store at ``path``, where nothing is yet, as its first start leaves it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(_sqlite_file())
    return f"sqlite:///{path}"


@cache
def _sqlite_file() -> bytes:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "store.sqlite"
        make_schema(f"sqlite:///{path}")
        assert [found.name for found in path.parent.iterdir()] == [path.name], "all of it is in one file"
        return path.read_bytes()
