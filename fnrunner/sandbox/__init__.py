"""Keeping one function's processes together, bounded, apart from others', and removable without a trace.

A :class:`~fnrunner.sandbox.sandbox.Sandbox` starts a command and answers for its whole tree of processes. It knows
nothing of languages, invocations or logs. The one implementation, ``process``, uses what the host permits::

    worker ── Popen ──► launcher (joins cgroups, mounts, limits, then exec) ──► the runtime, its children, …

============================ ========================================== ===========================================
                             with writable cgroups                      without
============================ ========================================== ===========================================
memory                       limit on the whole tree, by the kernel     RLIMIT_DATA each, resident size of the tree polled
processor                    weight by memory; all functions together   each process nice 5
                             two processes' weight a core; FNRUNNER_
                             CPU_LIMIT=on: no more than memory / 1,769
                             MB processors, once initialised
processes                    pids limit                                 RLIMIT_NPROC (not for root)
kill                         everybody in the cgroup, until it is empty descendants, session, marked processes
============================ ========================================== ===========================================

As root also a mount namespace: private ``/tmp``, read-only ``/var/task`` and ``/var/runtime``, nothing changed on the
host. ``describe`` says what this host gives; nothing is promised silently.

When the worker dies, the kernel kills the runtime (PR_SET_PDEATHSIG) and the runtime sees its socket close; what the
function had detached from itself is removed by the next worker's ``sweep`` on this host, which knows dead workers'
cgroups, processes and directories by the owner in their names. Not provided: user, pid and network namespaces, system
call filters, a share of the disk, a limit on the total size of ``/tmp`` (single files are limited).

What a function sends is taken in slices, so that no function occupies the worker's event loop: a flood on stdout stays in
its pipe after half a megabyte in ten milliseconds, an answer of megabytes is received where it stays.
"""
