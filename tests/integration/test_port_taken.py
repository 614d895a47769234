"""A port that is taken is noticed before anything else of the server is begun."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from fnrunner.app.node import node
from fnrunner.app.server import PortInUse
from fnrunner.settings import Settings


async def test_a_port_that_is_taken_is_noticed_before_anything_is_begun(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = Settings.read({"FNRUNNER_DATA_DIR": str(tmp_path / "data"), "FNRUNNER_PORT": str(port)})
        with pytest.raises(PortInUse, match=f"127.0.0.1:{port} cannot be listened on"):
            async with node(settings, ("worker", "sources", "api"), lambda _: None):
                pass
    assert not (tmp_path / "data").exists()
