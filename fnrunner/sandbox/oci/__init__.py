"""Functions that are container images: fetched with skopeo, unpacked with umoci, run by crun or runc.

::

    ImageUri ─ reference ─► skopeo ─► OCI layout ─► umoci ─► root directory, named by the digest, shared, read-only
                                          │ config                        │
                                          └──► process ──► bundle ◄───────┘
                                                              │
    worker ◄── control socket ──► runtime_api ◄── HTTP ── ENTRYPOINT      in a container of the OCI runtime
                                       └── init: its first process, tells how it ended

The Runtime API is served inside the container, by the host's Python, which is shown at ``/.fnrunner``: an image needs none.
A container has user, mount, pid, ipc, uts and network namespaces of its own, no capabilities, the same system calls refused
as in the namespace sandbox, the same control group limits, a read-only root, and its environment's ``/tmp``. The image's
root user is the worker's user without that user's rights; ``USER`` of the image is not heeded, as on Lambda.

What ends: the runtime tool after each of its steps; the container with its first process, which the kernel ends with all in
it; a container of a dead worker when its control socket closes, or by the next worker's ``sweep``.
"""
