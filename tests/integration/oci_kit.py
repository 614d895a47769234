"""Container images made by hand: an OCI layout of a tar, as any tool would write it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from fnrunner.sandbox.oci.engine import engines
from tests.integration.test_provided import C

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def require_tools() -> None:
    """Skips the test, naming what this host lacks; in CI it fails."""
    missing = [name for name in ("skopeo", "umoci") if shutil.which(name) is None]
    if not engines():
        missing.append("crun or runc")
    if missing and os.environ.get("CI"):
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def entry(name: str, data: bytes = b"", **more: Any) -> tuple[tarfile.TarInfo, bytes]:
    """A member of a layer; ``more`` are fields of TarInfo."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o755
    for field, value in more.items():
        setattr(info, field, value)
    return info, data


def layer(*members: tuple[tarfile.TarInfo, bytes], trees: Mapping[str, Path] | None = None) -> bytes:
    """A tar of these members, and of directories of the host below their names inside."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
        for name, path in (trees or {}).items():
            archive.add(path, name)
    return made.getvalue()


def write_image(directory: Path, layers: Sequence[bytes], config: Mapping[str, Any]) -> str:
    """An OCI layout; its ImageUri."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)

    def blob(data: bytes, kind: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    diffs = [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in layers]
    document = {
        "architecture": ARCHITECTURE,
        "os": "linux",
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": diffs},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(json.dumps(document).encode(), "config.v1+json"),
        "layers": [blob(gzip.compress(one, 1, mtime=0), "layer.v1.tar+gzip") for one in layers],
    }
    found = blob(json.dumps(manifest).encode(), "manifest.v1+json")
    found["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [found]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return f"oci:{directory}:latest"


PROBE = r"""
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

static int refused(int result) { return result < 0 ? errno : 0; }

static int probe(char *out, const char *argument) {
    char cwd[256] = "", line[256];
    long caps = -1;
    int processes = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status)) sscanf(line, "CapEff: %lx", &caps);
    if (status) fclose(status);
    DIR *proc = opendir("/proc");
    for (struct dirent *one; (one = readdir(proc));) processes += one->d_name[0] >= '1' && one->d_name[0] <= '9';
    closedir(proc);
    int size = sprintf(out, "{\"cwd\":\"%s\",\"caps\":%ld,\"processes\":%d,", getcwd(cwd, sizeof cwd), caps, processes);
    int links = -2;
    FILE *devices = fopen("/proc/net/dev", "r");
    while (devices && fgets(line, sizeof line, devices)) links++;
    if (devices) fclose(devices);
    size += sprintf(out + size, "\"links\":%d,", links);
    size += sprintf(out + size, "\"root\":%d,", refused(open("/written", O_CREAT | O_WRONLY, 0600)));
    size += sprintf(out + size, "\"tmp\":%d,", refused(open("/tmp/written", O_CREAT | O_WRONLY, 0600)));
    size += sprintf(out + size, "\"mount\":%d,", refused(mount("none", "/tmp", "tmpfs", 0, "")));
    size += sprintf(out + size, "\"unshare\":%d,", refused(unshare(CLONE_NEWNS)));
    size += sprintf(out + size, "\"shadow\":%d,", refused(access("/etc/shadow", F_OK)));
    return size + sprintf(out + size, "\"A\":\"%s\",\"function\":\"%s\",\"arg\":\"%s\"}", getenv("A") ? getenv("A") : "",
                          getenv("AWS_LAMBDA_FUNCTION_NAME"), argument);
}

"""
SPECIAL = r"""
        if (length == 6 && !memcmp(event, "\"exit\"", 6)) exit(3);
        if (length == 6 && !memcmp(event, "\"hang\"", 6)) pause();
        if (length == 5 && !memcmp(event, "\"eat\"", 5)) for (;;) memset(malloc(1 << 22), 1, 1 << 22);
        if (length == 7 && !memcmp(event, "\"probe\"", 7)) {
            static char said[4096];
            printf("probing\n");
            fflush(stdout);
            event = said;
            length = probe(said, argc > 1 ? argv[1] : "");
            size = sprintf(out, "POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\n", id);
            size += sprintf(out + size, "Host: x\r\nContent-Length: %d\r\n\r\n", length);
        }
"""


def compiled(directory: Path) -> bytes:
    """A static client of the Runtime API in C: it echoes, and answers ``"probe"`` with what it sees."""
    require_tools()
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler is on this host")
    source = C.replace("int main(void) {", "int main(int argc, char **argv) {")
    source = source.replace("static char in[", f"{PROBE}static char in[", 1)
    copying = "        memcpy(out + size, event, length);\n"
    assert copying in source
    source = source.replace(copying, SPECIAL + copying)
    (directory / "p.c").write_text("#define _GNU_SOURCE\n" + source)
    subprocess.run(["gcc", "-static", "-O1", "-w", "-o", directory / "p", directory / "p.c"], check=True)
    return (directory / "p").read_bytes()


def app(program: bytes, *more: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A layer with the program at ``/srv/app``."""
    return layer(entry("srv", type=tarfile.DIRTYPE), entry("srv/app", program), *more)
