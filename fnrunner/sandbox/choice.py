"""Which sandbox a worker uses, and what it says when it has to make do with less."""

from __future__ import annotations

import logging
from pathlib import Path

from fnrunner.sandbox.destination import NetworkWish
from fnrunner.sandbox.namespace import ANY_NETWORK, NamespaceSandbox
from fnrunner.sandbox.process import ProcessSandbox
from fnrunner.sandbox.sandbox import SandboxUnavailable

log = logging.getLogger(__name__)

KINDS = ("auto", "namespace", "process")


def on_this_host(
    root: Path, kind: str = "auto", *, cpu_limit: bool = False, network: NetworkWish = ANY_NETWORK
) -> ProcessSandbox:
    """The sandbox of this kind; ``auto`` is namespaces where the host permits them, and says in the log where it does not.

    Raises SandboxUnavailable, also where functions would share the host's network and must not.
    """
    if kind == "process" and network.mode in ("private", "none"):
        raise SandboxUnavailable(f"functions have no network of their own ({network.mode}) without namespaces")
    if kind != "process":
        try:
            return NamespaceSandbox.on_this_host(root, cpu_limit=cpu_limit, network=network)
        except SandboxUnavailable as error:
            if kind == "namespace" or network.mode in ("private", "none"):
                raise
            plain = ProcessSandbox.on_this_host(root, cpu_limit=cpu_limit)
            log.warning("functions are less isolated than they could be: %s", error)
            plain.misses(f"functions have no namespaces of their own: {error}")
            return plain
    return ProcessSandbox.on_this_host(root, cpu_limit=cpu_limit)
