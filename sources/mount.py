"""What kind of file system a directory is on, from the kernel's table of mounts.

>>> table = "36 35 98:0 / / rw - ext4 /dev/root rw\\n37 36 0:31 / /mnt/my\\\\040nas rw - nfs4 nas:/x rw\\n"
>>> filesystem_of("/mnt/my nas/in", table), filesystem_of("/mnt/my", table)
('nfs4', 'ext4')
"""

from __future__ import annotations

import re

_NETWORK = {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "drvfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs"}
_NETWORK |= {"nfs4", "orangefs", "prl_fs", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs"}
_ESCAPE = re.compile(r"\\([0-7]{3})")


def read_mounts() -> str:
    """The kernel's table of mounts, or nothing where there is none."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def filesystem_of(path: str, mountinfo: str) -> str:
    """The type of the file system that an absolute, resolved path is on; empty when the table does not say."""
    best, kind = "", ""
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if not separator or len(fields) < 5:
            continue
        point = _ESCAPE.sub(lambda m: chr(int(m[1], 8)), fields[4])
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, kind = point, after.split(" ", 1)[0]
    return kind


def changes_elsewhere(kind: str) -> bool:
    """Whether other hosts write to it: then inotify tells only a part, and open files cannot be told from closed ones."""
    return kind in _NETWORK or kind.startswith("fuse")


def keeps_inodes(kind: str) -> bool:
    """Whether a file has the same inode number after the file system was mounted again."""
    return not kind.startswith("fuse")
