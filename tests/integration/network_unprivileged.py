"""Run by an ordinary user: a command in an environment with a network of its own. Standard library and fnrunner alone.

``python network_unprivileged.py DIRECTORY MODE SERVICE CODE`` prints what the code printed, as its sandbox describes itself
before that. ``SERVICE`` is denied.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from fnrunner.sandbox.destination import Endpoint, NetworkWish
from fnrunner.sandbox.namespace import NamespaceSandbox
from fnrunner.sandbox.process import INSIDE
from fnrunner.sandbox.sandbox import Command, Limits


async def main(directory: Path, mode: str, service: str, code: str) -> None:
    (directory / "code").mkdir(exist_ok=True)
    wish = NetworkWish(mode, services=(service,), allow=(Endpoint("127.0.0.1", 9000),))
    sandbox = NamespaceSandbox.on_this_host(directory / "environments", network=wish)
    report = sandbox.describe()
    print(json.dumps([os.getuid(), report.network, list(report.gaps)]), flush=True)
    limits = Limits(memory_mb=128, file_mb=16, processes=64, open_files=256)
    path = str(directory / "code")
    argv = (os.path.realpath(sys.executable), "-I", "-c", code)
    command = Command("one", argv, {}, path, path, INSIDE, limits, 1, ())
    process = await sandbox.start(command)
    await process.wait()
    await process.remove()
    await sandbox.wind_down()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:5]))
