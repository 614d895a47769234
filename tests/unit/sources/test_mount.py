from __future__ import annotations

import pytest

from sources.mount import changes_elsewhere, filesystem_of, keeps_inodes

TABLE = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:40 / /mnt/nas rw - nfs4 nas:/export rw
41 40 0:41 / /mnt/nas/scratch rw - tmpfs tmpfs rw
42 22 0:42 / /media/my\\040disk rw - fuse.sshfs host: rw
a line that means nothing
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/photos", "ext4"),
        ("/mnt/nas", "nfs4"),
        ("/mnt/nas/in", "nfs4"),
        ("/mnt/nas/scratch/in", "tmpfs"),
        ("/mnt/nasty", "ext4"),
        ("/media/my disk/a", "fuse.sshfs"),
    ],
)
def test_the_innermost_mount_says_what_a_directory_is_on(path: str, kind: str) -> None:
    assert filesystem_of(path, TABLE) == kind


def test_without_a_table_nothing_is_known_and_it_counts_as_local() -> None:
    assert filesystem_of("/srv", "") == ""
    assert not changes_elsewhere("")


@pytest.mark.parametrize(
    ("kind", "elsewhere"), [("ext4", False), ("overlay", False), ("nfs4", True), ("fuse.sshfs", True)]
)
def test_network_file_systems_change_without_telling(kind: str, elsewhere: bool) -> None:
    assert changes_elsewhere(kind) is elsewhere


def test_user_space_file_systems_number_their_files_anew() -> None:
    assert keeps_inodes("nfs4")
    assert not keeps_inodes("fuseblk")
