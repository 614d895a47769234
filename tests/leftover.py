"""What a process of fnrunner has left running on this host."""

from __future__ import annotations

import re
from pathlib import Path

from fnrunner.sandbox import process_tree
from fnrunner.sandbox.ownership import MARKER


def environments_of(owner: int) -> list[int]:
    """Every living process that began in an environment of the process ``owner``: as its variables say, its cgroup or its
    root directory.
    """
    marked = {pid for pid, name in process_tree.markers(MARKER.encode()) if name.split("-")[3] == str(owner)}
    mark = re.compile(rf"fnrunner-[0-9a-f]{{8}}-\d+-{owner}-\d+-")
    return sorted(marked | {pid for pid in process_tree.table() if pid != owner and _is_in(pid, mark)})


def _is_in(pid: int, mark: re.Pattern[str]) -> bool:
    try:
        return any(mark.search(Path(f"/proc/{pid}/{file}").read_text()) for file in ("cgroup", "mountinfo"))
    except OSError:
        return False
