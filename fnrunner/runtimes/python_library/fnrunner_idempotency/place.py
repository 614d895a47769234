"""Whether a file is somewhere that every environment of a function shares.

Each execution environment has a /tmp of its own, which is gone with it: records there would guard nothing. SQLite also
needs a file system whose locks and shared memory are those of one host.
"""

from __future__ import annotations

import os
import re

from .errors import IdempotencyPlaceError

TYPE_CHECKING = False  # what type checkers take for True; importing typing would cost a cold start
if TYPE_CHECKING:
    from collections.abc import Mapping

REMEDY = (
    "Take a directory that all environments of the function see: a bucket's (!GetAtt NAME.Directory in a template, "
    "passed as an environment variable), or another directory of this host outside /tmp"
)
_PRIVATE = "/tmp"  # noqa: S108 - its name inside an environment
_OF_THE_NETWORK = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|9p|afs|ceph|glusterfs|lustre|fuse\.(sshfs|glusterfs|s3fs|rclone)"
)
_OCTAL = re.compile(r"\\([0-7]{3})")


def mount_of(path: str, mountinfo: str) -> tuple[str, str, str]:
    """Mount point, root within its file system, and type of what ``path`` lies on, from /proc/self/mountinfo.

    >>> lines = "1 0 8:1 / / rw - ext4 /dev/a rw\\n2 1 8:1 /data/e1/tmp /tmp rw - ext4 /dev/a rw\\n"
    >>> mount_of("/tmp/x", lines), mount_of("/tmpx", lines)
    (('/tmp', '/data/e1/tmp', 'ext4'), ('/', '/', 'ext4'))
    """
    best = ("", "", "")
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after:
            continue
        root, point = (_OCTAL.sub(lambda found: chr(int(found[1], 8)), field) for field in fields[3:5])
        # the last of two mounts on one place is the one that is seen
        if len(point) >= len(best[0]) and _is_below(path, point):
            best = (point, root, after.split()[0])
    return best


def fault_of(path: str, mountinfo: str, variables: Mapping[str, str]) -> str | None:
    """Why the file ``path``, absolute and resolved, cannot be the store; None when nothing speaks against it.

    Outside a function's environment only the kind of file system counts.
    """
    point, root, kind = mount_of(path, mountinfo)
    if "AWS_LAMBDA_FUNCTION_NAME" in variables and "_HANDLER" in variables:
        temporary = variables.get("TMPDIR", _PRIVATE)
        if (point == _PRIVATE and root != "/") or (
            temporary != _PRIVATE and _is_below(path, os.path.realpath(temporary))
        ):
            return f"{path} is in the private /tmp of one execution environment, and is gone with it. {REMEDY}"
        code = variables.get("LAMBDA_TASK_ROOT", "")
        if code and _is_below(path, os.path.realpath(code)):
            return f"{path} is in the function's code directory, which changes with each deployment. {REMEDY}"
    if _OF_THE_NETWORK.fullmatch(kind):
        return (
            f"{path} is on a network file system ({kind}), where SQLite's locks do not hold. "
            "Take a directory on a disk of this host, or PostgresStore for workers on several hosts"
        )
    return None


def check_place(path: str) -> str:
    """The absolute path of the file. Raises IdempotencyPlaceError."""
    found = os.path.realpath(path)
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            mountinfo = file.read()
    except OSError:
        mountinfo = ""  # no Linux: there are no private directories either
    fault = fault_of(found, mountinfo, os.environ)
    if fault is None:
        fault = _access_fault(found)
    if fault is not None:
        raise IdempotencyPlaceError(fault)
    return found


def _access_fault(path: str) -> str | None:
    directory = os.path.dirname(path)
    if os.path.isdir(path):
        return f"{path} is a directory; name a file in it, such as {os.path.join(path, '.idempotency.sqlite')}"
    if not os.path.isdir(directory):
        return f"the directory {directory} does not exist for this function. {REMEDY}"
    if not os.access(directory, os.W_OK | os.X_OK) or (os.path.exists(path) and not os.access(path, os.R_OK | os.W_OK)):
        return f"{path} cannot be written by this function. Let the worker's user write it and its directory. {REMEDY}"
    return None


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")
