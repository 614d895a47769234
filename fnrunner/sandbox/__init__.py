"""Keeping one function's processes together, bounded, apart from others', and removable without a trace.

A :class:`~fnrunner.sandbox.sandbox.Sandbox` starts a command and answers for its whole tree of processes. It knows
nothing of languages, invocations or logs. There are two, and :mod:`~fnrunner.sandbox.choice` takes the first that the host
permits:

``namespace``
    The function's process is forked from a spawner, which has an interpreter loaded, into user, mount, pid, ipc, uts and
    cgroup namespaces of its own; it has no capabilities, may not gain any, and a seccomp filter refuses what only an escape
    would want. Its root directory is a memory file system with the host's programs and a few settings, read-only, its code,
    its runtime and its ``/tmp``. Needs no root, only user namespaces. A fork takes milliseconds where starting an
    interpreter takes tens; the plan, with the function's variables, reaches the new process alone. What is drawn when an
    interpreter starts, hash seeds and the layout of memory, is the same for all functions of a worker's interpreter.

``process``
    A launcher is started, puts itself into what the host permits, and becomes the runtime. As root it has a mount namespace
    too: private ``/tmp``, read-only ``/var/task`` and ``/var/runtime``. The host's other files can be seen.

============================ ========================================== ===========================================
                             with writable cgroups                      without
============================ ========================================== ===========================================
memory                       limit on the whole tree, by the kernel     RLIMIT_DATA each, resident size of the tree polled
processor                    weight by memory; all functions together   each process nice 5
                             two processes' weight a core; FNRUNNER_
                             CPU_LIMIT=on: no more than memory / 1,769
                             MB processors, once initialised
processes                    pids limit                                 RLIMIT_NPROC (not for root)
kill, ``namespace``          the init process, whose end is everybody's (kernel)
kill, ``process``            everybody in the cgroup, until it is empty descendants, session, marked processes
============================ ========================================== ===========================================

``describe`` says what this host gives; nothing is promised silently.

When the worker dies, the kernel kills the spawner or the runtime (PR_SET_PDEATHSIG) and the runtime sees its socket close;
what a function had detached from itself is removed by the next worker's ``sweep`` on this host, which knows dead workers'
cgroups, processes and directories by the owner in their names. Not provided: network namespaces, a share of the disk, a
limit on the total size of ``/tmp`` (single files are limited).

Why user namespaces and not a user id of the function's own: buckets and mounts are files of people, and a function that runs as
another user could not write to them. It runs as the worker's user without that user's rights, and believes to be
``sbx_user1051``. Run workers as a user of their own, not as root, where that matters: abstract sockets of the host, and files
in mounts, know a function by the worker's user.

What a function sends is taken in slices, so that no function occupies the worker's event loop: a flood on stdout stays in
its pipe after half a megabyte in ten milliseconds, an answer of megabytes is received where it stays.
"""
