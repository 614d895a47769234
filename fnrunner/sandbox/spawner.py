"""The fork server: an interpreter that waits, and becomes an environment in milliseconds when it is asked to.

Started as ``python -I -u -B -X utf8 spawner.py SOCKET PARENT``, one for each interpreter of a worker; standard library only,
Python 3.9 and later, nothing of fnrunner. It holds no secret: what is to be run comes in a file in memory that only the new
process reads, so no environment can find another's variables in what it inherited.

::

    worker ─► spawner ── clone ──► init, pid 1 in namespaces of its own, with a root directory of the system's programs
                                    │     └── fork ──► the function: waits for its plan, adds what is its own to the root,
                                    │                   gives up every right, runs
                                    └ writes how the function ended into a pipe, and takes the rest along

Everything up to the wait is the same for all functions, and has been done for a few of them before anybody asks.

The first message is ``(stage, links, shown)``: where the root directory is put together, and what of the host is in it.

A request is ``(number, cgroup entrances, script)`` with file descriptors: the plan, the pipe for the status, the output, and
those that the function inherits. ``script`` is the Python program that may be run without starting an interpreter: where it
is, and where the function sees it; or empty. A request without descriptors asks to be ready for others. The answer is
``(number, pid, error)``, with a pidfd of the init process where there is one.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import gc
import marshal
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from types import ModuleType

TYPE_CHECKING = False  # what type checkers take for True
if TYPE_CHECKING:
    from typing import Any, NoReturn

FAILED = 125
MOST_BYTES, MOST_DESCRIPTORS = 16384, 16
READY = 0
AHEAD = 2
"""How many wait before anybody asks."""

WAITING_S = 600.0
"""After so long what they know of the host, such as its name servers, may have become wrong."""

PREPARING_S = 10.0

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 24, 38
SECCOMP_MODE_FILTER = 2
CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x00020000, 0x02000000, 0x04000000
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID = 0x08000000, 0x10000000, 0x20000000
NAMESPACES = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_SLAVE = 1, 2, 4, 8, 4096, 16384, 1 << 19
MNT_DETACH = 2
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
ATTR_RDONLY, ATTR_NOSUID = 1, 2
CAPABILITY_VERSION_3 = 0x20080522
CALLS = {"x86_64": (56, 442, 155), "aarch64": (220, 442, 41)}
"""Numbers of clone, mount_setattr and pivot_root."""

USER, GROUP = 993, 990
"""Who the function believes to be, as on Lambda; outside it is the worker's user without any right of root."""

PASSWD = f"root:x:0:0:root:/root:/sbin/nologin\nsbx_user1051:x:{USER}:{GROUP}::/home/sbx_user1051:/sbin/nologin\n"
GROUPS = f"root:x:0:\nsbx_user1051:x:{GROUP}:\n"
DEVICES = ("null", "zero", "full", "random", "urandom")
UNCHANGEABLE = ("sys", "irq", "bus", "fs")
UNREADABLE = (
    "acpi", "kcore", "keys", "kpagecgroup", "kpagecount", "kpageflags", "latency_stats", "sched_debug", "scsi", "slabinfo",
    "sysrq-trigger", "timer_list", "vmallocinfo",
)  # fmt: skip

# What most functions import anyway, and nothing that starts threads or opens files.
PRELOADED = (
    "asyncio", "base64", "collections", "concurrent.futures", "contextlib", "copy", "csv", "dataclasses", "datetime",
    "decimal", "email.message", "enum", "functools", "gzip", "hashlib", "hmac", "http.client", "importlib.util",
    "inspect", "io", "itertools", "json", "logging", "math", "operator", "pathlib", "queue", "random", "re", "secrets",
    "shutil", "socket", "ssl", "string", "struct", "subprocess", "tempfile", "textwrap", "threading", "time", "traceback",
    "typing", "urllib.parse", "urllib.request", "uuid", "warnings", "weakref", "zipfile",
)  # fmt: skip

EARLY = frozenset(
    (
        "__future__", "__main__", "_abc", "_bisect", "_codecs", "_collections", "_collections_abc", "_functools",
        "_imp", "_io", "_json", "_locale", "_operator", "_random", "_sitebuiltins", "_sre", "_stat", "_string",
        "_struct", "_thread", "_tokenize", "_warnings", "_weakref", "_weakrefset", "abc", "atexit", "builtins",
        "codecs", "collections", "copyreg", "encodings", "enum", "errno", "fnmatch", "functools", "genericpath",
        "importlib", "io", "itertools", "json", "keyword", "linecache", "logging", "marshal", "ntpath", "operator",
        "os", "posix", "posixpath", "re", "reprlib", "site", "sre_compile", "sre_constants", "sre_parse", "stat",
        "string", "struct", "sys", "threading", "time", "token", "tokenize", "traceback", "types", "typing", "warnings",
        "weakref", "zipimport",
    )
)  # fmt: skip
"""What the runtime has loaded when it comes to the function's own."""

libc = ctypes.CDLL(None, use_errno=True)
CLONE, MOUNT_SETATTR, PIVOT_ROOT = CALLS.get(os.uname().machine, (0, 0, 0))


def check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    arguments = [text.encode() if text else None for text in (source, target, kind)]
    check(libc.mount(*arguments, ctypes.c_ulong(flags), data.encode() if data else None), f"mount on {target}")


def bind(source: int | str, target: str, attributes: int) -> None:
    """Show what a descriptor or a path means at ``target`` too, everything that is mounted below it included."""
    mount(f"/proc/self/fd/{source}" if isinstance(source, int) else source, target, "", MS_BIND | MS_REC)
    restrict(target, attributes, AT_RECURSIVE)


def restrict(target: str, attributes: int, flags: int = 0) -> None:
    wanted = struct.pack("QQQQ", attributes, 0, 0, 0)
    check(
        libc.syscall(MOUNT_SETATTR, AT_FDCWD, target.encode(), flags, wanted, len(wanted)), f"mount_setattr of {target}"
    )


class Waiting:
    """An init process and its function, which wait for a plan."""

    def __init__(self, pid: int, pidfd: int, init: socket.socket, function: socket.socket) -> None:
        self.pid, self.pidfd, self.init, self.function = pid, pidfd, init, function
        self.since = time.monotonic()

    def start(self, entrances: tuple[str, ...], descriptors: list[int]) -> None:
        """Raises OSError: it has ended, does not come up, or could not be put into its control groups."""
        self.function.settimeout(PREPARING_S)
        if self.function.recv(1) != b"r":
            raise OSError(errno.ESRCH, "a process that waited has ended")
        with open(f"/proc/{self.pid}/task/{self.pid}/children") as children:
            pid = children.read().partition(" ")[0]
        if not pid or self.ended:
            raise OSError(errno.ESRCH, "a process that waited has ended")
        for entrance in entrances:
            write(entrance, pid)
        plan, status, *others = descriptors
        socket.send_fds(self.init, [b"s"], [status])
        socket.send_fds(self.function, [b"p"], [plan, *others])

    @property
    def ended(self) -> bool:
        return bool(select.select([self.pidfd], [], [], 0)[0])

    def close(self) -> None:
        """A process that still waits ends."""
        os.close(self.pidfd)
        self.init.close()
        self.function.close()


class Spawner:
    """Answers requests until the worker closes its end."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.base: Any = None
        self.scripts: dict[str, Any] = {}
        self.wanted = self.loaded = False
        self.waiting: list[Waiting] = []
        self.python = ctypes.pythonapi
        # held throughout, or another thread state could be current in the child
        self.raw = ctypes.PyDLL(None, use_errno=True)

    def serve(self) -> None:
        self.channel.send(marshal.dumps((READY, os.getpid(), "")))
        self.base = marshal.loads(self.channel.recv(MOST_BYTES))  # noqa: S302 - the worker wrote it
        while True:
            self.prepare()
            message, descriptors, _, _ = socket.recv_fds(self.channel, MOST_BYTES, MOST_DESCRIPTORS)
            if not message:
                os._exit(0)
            number, entrances, script = marshal.loads(message)  # noqa: S302 - the worker wrote it
            try:
                self.learn(script)
                if not descriptors:
                    continue
                self.spawn(number, entrances, descriptors)
            except OSError as error:
                self.channel.send(marshal.dumps((number, 0, str(error))))
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

    def learn(self, script: tuple[str, str]) -> None:
        if script and script[1] not in self.scripts:
            self.wanted = True
            self.scripts[script[1]] = compiled(*script)
            self.forget()

    def prepare(self) -> None:
        """While nobody asks: load, and have some who wait. Not before it is told to: the first request may be a mere trial."""
        if not self.wanted:
            return
        while not select.select([self.channel], [], [], 0)[0]:
            if not self.loaded:
                self.loaded = True
                load()
                self.forget()
            elif len(self.waiting) < AHEAD:
                try:
                    self.waiting.append(self.make())
                except OSError as error:
                    os.write(2, f"sandbox: {error}\n".encode())
                    return
            else:
                return

    def forget(self) -> None:
        """Those who wait know less than they could."""
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            each.close()

    def spawn(self, number: int, entrances: tuple[str, ...], descriptors: list[int]) -> None:
        """Raises OSError when there is no process; what goes wrong in it is said in its own output."""
        if self.waiting and time.monotonic() - self.waiting[0].since > WAITING_S:
            self.forget()
        while self.waiting and self.waiting[0].ended:
            self.waiting.pop(0).close()
        each = self.waiting.pop(0) if self.waiting else self.make()
        try:
            each.start(entrances, descriptors)
            socket.send_fds(self.channel, [marshal.dumps((number, each.pid, ""))], [each.pidfd])
        finally:
            each.close()

    def make(self) -> Waiting:
        """Raises OSError."""
        init, its_init = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        function, its_function = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            pid = self.clone()
            if pid == 0:
                begin(its_init.detach(), its_function.detach(), self.base, self.scripts)
            admit(pid)
            each = Waiting(pid, os.pidfd_open(pid), init, function)
            init.send(b"g")
        except BaseException:
            # without the word, the process ends
            init.close()
            function.close()
            raise
        finally:
            its_init.close()
            its_function.close()
        return each

    def clone(self) -> int:
        """fork, into new namespaces. Python's own fork cannot, and a process may leave its pid namespace only once."""
        self.python.PyOS_BeforeFork()
        pid = int(self.raw.syscall(CLONE, ctypes.c_ulong(NAMESPACES | signal.SIGCHLD), 0, 0, 0, 0))
        number = ctypes.get_errno()
        if pid == 0:
            self.python.PyOS_AfterFork_Child()
            return 0
        self.python.PyOS_AfterFork_Parent()
        if pid < 0:
            raise OSError(number, f"clone: {os.strerror(number)}")
        return pid


def write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def admit(pid: int) -> None:
    """Say who the process is outside."""
    write(f"/proc/{pid}/setgroups", "deny")
    write(f"/proc/{pid}/uid_map", f"{USER} {os.geteuid()} 1")
    write(f"/proc/{pid}/gid_map", f"{GROUP} {os.getegid()} 1")


def begin(init: int, function: int, base: Any, scripts: dict[str, Any]) -> NoReturn:
    """The life of the init process. Nothing of the spawner's stays open in it but where it writes errors."""
    try:
        check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
        to_init, to_function = (socket.socket(fileno=number) for number in lifted([init, function]))
        if to_init.recv(1) != b"g":
            os._exit(FAILED)  # the spawner could not admit it, or is dead
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        build_root(*base)
        pid = os.fork()
        if pid == 0:
            to_init.close()
            wait(to_function, base[0], scripts)
        to_function.close()
        _, descriptors, _, _ = socket.recv_fds(to_init, 1, 1)
        if not descriptors:
            os._exit(0)  # not needed any more
        stay(pid, descriptors[0])
    except ConnectionError:
        os._exit(0)  # not needed any more
    except BaseException as error:
        os.write(2, f"sandbox: {error}\n".encode())
    finally:
        os._exit(FAILED)


def lifted(descriptors: list[int], above: int = 2) -> list[int]:
    """The same files under numbers ``above`` one; everything else, but 0 to 2, is closed."""
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, above + 1) for descriptor in descriptors]
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in high:
            try:
                os.close(int(name))
            except OSError:
                pass  # that of the listing itself
    return high


def stay(function: int, status: int) -> NoReturn:
    """Be pid 1: pass on the request to end, collect the dead, say how the function ended. Everybody goes with it."""
    signal.signal(signal.SIGTERM, lambda *_: os.kill(function, signal.SIGTERM))
    # the function has the same user: it must not find anything of this process in /proc, nor what it has open
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    os.close(nothing)
    drop_capabilities()
    check(libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl")
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    while True:
        pid, ended = os.waitpid(-1, 0)
        if pid == function:
            try:
                os.write(status, b"%d" % ended)
            except OSError:
                pass  # the worker is gone
            os._exit(0)


def wait(channel: socket.socket, stage: str, scripts: dict[str, Any]) -> NoReturn:
    """The life of the function's process: until there is a plan, the same for all."""
    try:
        channel.send(b"r")
        _, descriptors, _, _ = socket.recv_fds(channel, 1, MOST_DESCRIPTORS)
        if not descriptors:
            os._exit(0)  # not needed any more
        channel.close()
        plan = read_plan(descriptors[0])
        # above the numbers that they are to have
        output, *inherited = lifted(descriptors[1:], max(2, *plan["inherited"], 2))
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        become(plan, stage, inherited, scripts)
    except ConnectionError:
        os._exit(0)  # not needed any more
    except BaseException as error:
        os.write(2, f"sandbox: {error}\n".encode())
    finally:
        os._exit(FAILED)


def read_plan(descriptor: int) -> dict[str, Any]:
    size = os.fstat(descriptor).st_size
    plan: dict[str, Any] = marshal.loads(os.pread(descriptor, size, 0))  # noqa: S302 - the worker wrote it
    os.close(descriptor)
    return plan


# the root directory


def build_root(root: str, links: Any, shown: Any) -> None:
    """A root directory of the system's programs and settings, and nothing else of the host; not entered yet."""
    check(libc.sethostname(b"localhost", 9), "sethostname")
    # nothing goes out, and what the host unmounts goes away here too
    mount("none", "/", "", MS_REC | MS_SLAVE)
    mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    for name in ("/dev", "/proc", "/opt", "/tmp", "/etc", "/var"):  # noqa: S108 - their names inside
        make_directory(f"{root}{name}")
    for name, link in links:
        make_directory(os.path.dirname(f"{root}{name}"))
        os.symlink(link, f"{root}{name}")
    show(root, shown)
    for name, text in (("passwd", PASSWD), ("group", GROUPS)):
        with open(f"{root}/etc/{name}", "w") as file:
            file.write(text)
    add_devices(root)
    mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    cover_proc(root)


def show(root: str, shown: Any) -> None:
    """Mount parts of the host: where each is, where it is seen, and what may not be done with it."""
    # opened now: some of it may lie below what another one covers
    opened = []
    for source, target, attributes in shown:
        try:
            opened.append((os.open(source, os.O_PATH), target, attributes))
        except FileNotFoundError:
            continue  # a package of the host was removed, or a bucket's directory
    for descriptor, target, attributes in opened:
        prepare(descriptor, f"{root}{target}")
        bind(descriptor, f"{root}{target}", attributes)
        os.close(descriptor)


def enter_root(root: str, shown: Any) -> None:
    """Add what is the function's own, and go in for good."""
    # what it sees of the control groups begins with its own
    check(libc.unshare(CLONE_NEWCGROUP), "unshare")
    show(root, shown)
    os.chdir(root)
    check(libc.syscall(PIVOT_ROOT, b".", b"."), "pivot_root")
    check(libc.umount2(b".", MNT_DETACH), "umount2")
    os.chdir("/")
    restrict("/", ATTR_RDONLY)


def make_directory(path: str) -> None:
    try:
        os.makedirs(path, 0o755, exist_ok=True)
    except OSError as error:
        raise OSError(error.errno, f"{path} cannot be made visible to functions: {error.strerror}") from error


def prepare(descriptor: int, place: str) -> None:
    """Something to mount on."""
    if os.path.exists(place):
        return
    if os.path.isdir(f"/proc/self/fd/{descriptor}"):
        make_directory(place)
        return
    make_directory(os.path.dirname(place))
    os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o644))


def add_devices(root: str) -> None:
    for name in DEVICES:
        os.close(os.open(f"{root}/dev/{name}", os.O_CREAT | os.O_WRONLY, 0o666))
        # read-only is the node, whose mode is the host's, and not the device
        bind(f"/dev/{name}", f"{root}/dev/{name}", ATTR_RDONLY | ATTR_NOSUID)
    for name, link in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        os.symlink(f"/proc/self/fd{link}", f"{root}/dev/{name}")


def cover_proc(root: str) -> None:
    for name in UNCHANGEABLE:
        if os.path.isdir(path := f"{root}/proc/{name}"):
            bind(path, path, ATTR_RDONLY)
    for name in UNREADABLE:
        path = f"{root}/proc/{name}"
        if os.path.isdir(path):
            mount("tmpfs", path, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV, "size=4k,mode=555")
        elif os.path.exists(path):
            bind("/dev/null", path, ATTR_RDONLY)


# the function's process


def become(plan: dict[str, Any], stage: str, inherited: list[int], scripts: dict[str, Any]) -> NoReturn:
    """Give up every right, and run."""
    enter_root(stage, plan["shown"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    for descriptor, number in zip(inherited, plan["inherited"]):  # noqa: B905 - of Python 3.10
        os.dup2(descriptor, number)
        os.set_inheritable(number, True)
        os.close(descriptor)
    limit(plan)
    os.chdir(plan["directory"])
    os.umask(0o022)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    drop_capabilities()
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    if plan["filter"]:
        install(plan["filter"])
    argv, script = plan["argv"], plan["script"]
    if script and argv[script] in scripts:
        run(scripts[argv[script]], argv[script:], plan["variables"])
    os.execve(argv[0], argv, plan["variables"])  # noqa: S606


def limit(plan: dict[str, Any]) -> None:
    for name, value in plan["limits"].items():
        number = getattr(resource, name)
        _, hard = resource.getrlimit(number)
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (bound, bound))
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")  # under host pressure, functions go before the worker
    except OSError:
        pass
    if plan["nice"]:
        os.setpriority(os.PRIO_PROCESS, 0, plan["nice"])
    try:
        # a function that wakes up does not push the worker or the broker off the processor: more gets done under load
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError:
        pass


def drop_capabilities() -> None:
    number = 0
    while libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) == 0:
        number += 1
    if ctypes.get_errno() != errno.EINVAL:
        check(-1, "prctl")
    check(libc.capset(struct.pack("=Ii", CAPABILITY_VERSION_3, 0), struct.pack("=6I", *(6 * [0]))), "capset")


def install(instructions: bytes) -> None:
    array = ctypes.create_string_buffer(instructions, len(instructions))
    program = struct.pack("@HP", len(instructions) // 8, ctypes.addressof(array))
    check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0), "the filter of system calls")


def run(code: Any, argv: list[str], variables: dict[str, str]) -> NoReturn:
    """Become the interpreter that was asked for: the same program, its variables, its ``__main__``."""
    os.environ.clear()
    os.environ.update(variables)
    time.tzset()
    # as every interpreter does when it starts
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = list(argv)
    sys.path_importer_cache.clear()
    forget_shadowed(os.getcwd(), *(path for path in variables.get("PYTHONPATH", "").split(":") if path))
    main = ModuleType("__main__")
    main.__file__ = argv[0]
    sys.modules["__main__"] = main
    gc.enable()
    status = 0
    try:
        exec(code, main.__dict__)  # noqa: S102
    except SystemExit as leaving:
        status = ended_with(leaving)
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 1
    finish(status)


def ended_with(leaving: SystemExit) -> int:
    if leaving.code is None or isinstance(leaving.code, int):
        return leaving.code or 0
    os.write(2, f"{leaving.code}\n".encode())
    return 1


def finish(status: int) -> NoReturn:
    """As an interpreter ends: threads are waited for, exit handlers run."""
    import atexit
    import threading

    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # noqa: S110 - the function closed it
            pass
    os._exit(status & 0xFF)


def forget_shadowed(*directories: str) -> None:
    """What a function brings along under the name of a module that was loaded beforehand is what it imports.

    Not what an interpreter and the bootstrap load in any case: there it would be too late in a new one as well.
    """
    loaded = {name.partition(".")[0] for name in sys.modules} - EARLY
    for directory in directories:
        try:
            names = {name.partition(".")[0] for name in os.listdir(directory)}
        except OSError:
            continue
        for name in names & loaded:
            for module in [module for module in sys.modules if module == name or module.startswith(f"{name}.")]:
                del sys.modules[module]


def compiled(source: str, seen: str) -> Any:
    with open(source, "rb") as file:
        return compile(file.read(), seen, "exec")


def load() -> None:
    """Import what functions will want. It is the same for all, and no function's."""
    for name in PRELOADED:
        try:
            __import__(name)
        except ImportError:
            pass  # an interpreter may be built without it
    gc.collect()
    gc.freeze()


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    parent = int(sys.argv[2])
    check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    if os.getppid() != parent:
        os._exit(FAILED)  # the worker died before the line above
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker decides when it ends
    if os.geteuid() == 0:
        os.setgroups([])
    gc.disable()
    Spawner(channel).serve()


if __name__ == "__main__":
    main()
