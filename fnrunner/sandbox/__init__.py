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

    A function that has been imported once is kept as a snapshot, and its further environments are forked from that
    (:mod:`~fnrunner.sandbox.snapshots`): how long its import takes does not matter to them::

        worker ─► spawner ─► keeper, pid 1 of the snapshot's namespaces
                               ├─► snapshot: the function, imported, waiting
                               ├─► init, pid 1 of one copy's namespaces
                               └─► copy: forked by the snapshot into these

    The snapshot runs a function's code and must be able to send its child into other namespaces: it may join those whose
    descriptors the keeper hands to it (CAP_SYS_ADMIN in a user namespace that owns nothing of the host; the filter lets
    ``setns`` pass and nothing else that this right is good for), and the copy gives that up before it hears of anything.
    Whoever holds the host in view, the keeper and the init processes, runs none of the function's code and cannot be looked
    into. The other ways: a fork by the function into a user namespace of its own would put mounting and all that comes with
    it in reach of every import; one pid namespace for all copies would let them see and kill one another.

    Node.js cannot be forked. One of each kind that was wanted lately is started beforehand in an environment of its own, with
    the Runtime API around it, and waits until it is known for which function (:mod:`~fnrunner.sandbox.early`)::

        worker ─► spawner ─► init, pid 1 ─► Runtime API ─► node: its modules loaded, waits in a pipe
                               │              └ waits for the plan: hands on variables and directory
                               └ when the plan comes: shows code, layers and directories, which appear below

    It was started with the arguments, the limits and the filter that it would be started with for the function; where
    variables matter to a start, as NODE_OPTIONS or TZ do, the function's Node is started for it. Only the time since its start
    is longer (``process.uptime``), and /proc/self/environ has the variables that all have in common.

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
cgroups, processes and directories by the owner in their names. Not provided: a share of the disk, a limit on the total size
of ``/tmp`` (single files are limited).

Each environment of ``namespace`` has a network of its own where the host permits that (:mod:`~fnrunner.sandbox.uplink`): its
own loopback, ports and abstract sockets, a way out, and no way to the host, the broker, the store, cloud metadata or another
environment. Otherwise, and in ``process``, the network is the host's, and said to be::

     environment                            uplink                            host
    ┌───────────────────────────────┐      ┌──────────────────────────┐
    │ lo 127.0.0.1, ::1             │      │ rules: who is denied     │
    │ eth0 198.19.x.y ══════════════╪══════╪═ f1 … fn ──► tap0 ═══════╪══ slirp4netns ──► sockets
    └───────────────────────────────┘      └──────────────────────────┘
           plumber lays the cable ════════════╛

A worker has one uplink. Without root it is owned by a user namespace that the spawners enter, because only who is above an
environment may lay a cable into it. The plumber does that while the environment's root directory is put together, so that it
costs a start next to nothing; the kernel takes the cable away with the last process. Denials are routing rules in the uplink,
which no function can reach, and follow the host's addresses and the services' names while environments live; a copy of them in
each environment's own routes is only there to say no at once. When slirp4netns ends, connections end and new ones are refused
until the next one has started; when the plumber ends, starts wait for the next one. Routing instead of packet filters needs
nothing but what every kernel has. One slirp4netns for each environment would need neither uplink nor plumber, and a process of
a few megabytes more for each; a bridge would let environments see one another's frames.

There is no IPv6 beyond loopback and no ping, and exceptions are for TCP. More than sixteen environments that send at the same
moment cost slirp4netns questions of who is where: it remembers no more addresses.

Why user namespaces and not a user id of the function's own: buckets and mounts are files of people, and a function that runs as
another user could not write to them. It runs as the worker's user without that user's rights, and believes to be
``sbx_user1051``. Run workers as a user of their own, not as root, where that matters: files in mounts know a function by the
worker's user, and so do abstract sockets of a host whose network is shared.

What a function sends is taken in slices, so that no function occupies the worker's event loop: a flood on stdout stays in
its pipe after half a megabyte in ten milliseconds, an answer of megabytes is received where it stays.
"""
