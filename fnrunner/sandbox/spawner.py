"""The fork server: an interpreter that waits, and becomes an environment in milliseconds when it is asked to.

Started as ``python -I -u -B -X utf8 spawner.py SOCKET PARENT``, one for each interpreter of a worker; standard library only,
Python 3.9 and later, nothing of fnrunner. It holds no secret: what is to be run comes in a file in memory that only the new
process reads, so no environment can find another's variables in what it inherited.

::

    worker ─► spawner ── clone ──► init, pid 1 in namespaces of its own: mounts, then waits ── fork ──► the function
                                    │ writes how the function ended into a pipe, and takes the rest along

A request is ``(number, cgroup entrances, script)`` with file descriptors: the plan, the pipe for the status, the output, and
those that the function inherits. ``script`` is the Python program that may be run without starting an interpreter: where it
is, and where the function sees it; or empty. The answer is ``(number, pid, error)``, with a pidfd of the init process where
there is one.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import gc
import marshal
import os
import resource
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
MOST_DESCRIPTORS = 16
READY = 0
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 22, 24, 38
SECCOMP_MODE_FILTER = 2
CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x00020000, 0x02000000, 0x04000000
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID = 0x08000000, 0x10000000, 0x20000000
NAMESPACES = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 4096, 16384, 1 << 18
MNT_DETACH = 2
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV = 1, 2, 4
CAPABILITY_VERSION_3 = 0x20080522
CALLS = {"x86_64": (56, 442, 155), "aarch64": (220, 442, 41)}
"""Numbers of clone, mount_setattr and pivot_root."""

USER, GROUP = 993, 990
"""Who the function believes to be, as on Lambda; outside it is the worker's user without any right of root."""

PASSWD = f"root:x:0:0:root:/root:/sbin/nologin\nsbx_user1051:x:{USER}:{GROUP}::/home/sbx_user1051:/sbin/nologin\n"
GROUPS = f"root:x:0:\nsbx_user1051:x:{GROUP}:\n"
DEVICES = ("null", "zero", "full", "random", "urandom")
UNCHANGEABLE = ("sys", "irq", "bus", "fs")
UNREADABLE = ("kcore", "keys", "timer_list", "sysrq-trigger", "latency_stats", "sched_debug")

# What most functions import anyway, and nothing that starts threads or opens files.
PRELOADED = (
    "asyncio", "base64", "collections", "concurrent.futures", "contextlib", "copy", "csv", "dataclasses", "datetime",
    "decimal", "email.message", "enum", "functools", "gzip", "hashlib", "hmac", "http.client", "importlib.util",
    "inspect", "io", "itertools", "json", "logging", "math", "operator", "pathlib", "queue", "random", "re", "secrets",
    "shutil", "socket", "ssl", "string", "struct", "subprocess", "tempfile", "textwrap", "threading", "time", "traceback",
    "typing", "urllib.parse", "urllib.request", "uuid", "warnings", "weakref", "zipfile",
)  # fmt: skip

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


class Spawner:
    """Answers requests until the worker closes its end."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.scripts: dict[str, Any] = {}
        self.loaded = False
        self.python = ctypes.pythonapi
        # held throughout, or another thread state could be current in the child
        self.raw = ctypes.PyDLL(None, use_errno=True)

    def serve(self) -> None:
        self.channel.send(marshal.dumps((READY, os.getpid(), "")))
        while True:
            message, descriptors, _, _ = socket.recv_fds(self.channel, 8192, MOST_DESCRIPTORS)
            if not message:
                os._exit(0)
            number, entrances, script = marshal.loads(message)  # noqa: S302 - the worker wrote it
            try:
                if script and script[1] not in self.scripts:
                    self.scripts[script[1]] = compiled(*script)
                self.spawn(number, entrances, descriptors)
            except OSError as error:
                self.channel.send(marshal.dumps((number, 0, str(error))))
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
            if not self.loaded:
                # after the first request, which may be a trial that nobody should have to wait for
                self.loaded = True
                load()

    def spawn(self, number: int, entrances: tuple[str, ...], descriptors: list[int]) -> None:
        """Raises OSError when there is no process; what goes wrong in it is said in its own output."""
        go, going = os.pipe()
        try:
            pid = self.clone()
            if pid == 0:
                os.close(going)
                begin(go, descriptors, self.scripts)
            admit(pid, entrances)
            pidfd = os.pidfd_open(pid)
            os.write(going, b"g")
        finally:
            os.close(go)
            os.close(going)  # without the word, the process ends
        try:
            socket.send_fds(self.channel, [marshal.dumps((number, pid, ""))], [pidfd])
        finally:
            os.close(pidfd)

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


def admit(pid: int, entrances: tuple[str, ...]) -> None:
    """Say who the process is outside, and put it into its control groups, before it may do anything."""
    for path, text in (
        (f"/proc/{pid}/setgroups", "deny"),
        (f"/proc/{pid}/uid_map", f"{USER} {os.geteuid()} 1"),
        (f"/proc/{pid}/gid_map", f"{GROUP} {os.getegid()} 1"),
        *((entrance, str(pid)) for entrance in entrances),
    ):
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


def begin(go: int, descriptors: list[int], scripts: dict[str, Any]) -> NoReturn:
    """The life of the init process. Nothing of the spawner's stays open in it."""
    status = -1
    try:
        check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
        if os.read(go, 1) != b"g":
            os._exit(FAILED)  # the spawner could not admit it, or is dead
        plan_file, status, output, *inherited = lifted(descriptors)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        plan = read_plan(plan_file)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        build_root(plan)
        function = os.fork()
        if function == 0:
            os.close(status)
            become(plan, inherited, scripts)
        for descriptor in inherited:
            os.close(descriptor)
        stay(function, status)
    except BaseException as error:
        os.write(2, f"sandbox: {error}\n".encode())
        tell(status, FAILED << 8)
    finally:
        os._exit(FAILED)


def lifted(descriptors: list[int]) -> list[int]:
    """The same files under numbers that nobody asks for; everything else, but 0, is closed."""
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 512) for descriptor in descriptors]
    os.closerange(1, 512)
    os.closerange(max(high) + 1, max(high) + 512)
    return high


def read_plan(descriptor: int) -> dict[str, Any]:
    size = os.fstat(descriptor).st_size
    plan: dict[str, Any] = marshal.loads(os.pread(descriptor, size, 0))  # noqa: S302 - the worker wrote it
    os.close(descriptor)
    return plan


def tell(status: int, ended: int) -> None:
    try:
        os.write(status, b"%d" % ended)
    except OSError:
        pass  # the worker is gone


def stay(function: int, status: int) -> NoReturn:
    """Be pid 1: pass on the request to end, collect the dead, say how the function ended. Everybody goes with it."""
    signal.signal(signal.SIGTERM, lambda *_: os.kill(function, signal.SIGTERM))
    drop_capabilities()
    while True:
        pid, ended = os.waitpid(-1, 0)
        if pid == function:
            tell(status, ended)
            os._exit(0)


# the root directory


def build_root(plan: dict[str, Any]) -> None:
    """A root directory of its own: the system's programs, the code, the runtime, a /tmp, and nothing else of the host."""
    check(libc.unshare(CLONE_NEWCGROUP), "unshare")
    check(libc.sethostname(b"localhost", 9), "sethostname")
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    root = plan["stage"]
    # opened now: some of it may lie below what is about to be covered
    shown = [(os.open(source, os.O_PATH), target, attributes) for source, target, attributes in plan["shown"]]
    mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    for name, link in plan["links"]:
        make_directory(os.path.dirname(f"{root}{name}"))
        os.symlink(link, f"{root}{name}")
    for name in ("/dev", "/proc", "/opt", "/tmp", "/etc", "/var"):  # noqa: S108 - their names inside
        make_directory(f"{root}{name}")
    for descriptor, target, attributes in shown:
        prepare(descriptor, f"{root}{target}")
        bind(descriptor, f"{root}{target}", attributes)
        os.close(descriptor)
    for name, text in (("passwd", PASSWD), ("group", GROUPS)):
        with open(f"{root}/etc/{name}", "w") as file:
            file.write(text)
    add_devices(root)
    mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    cover_proc(root)
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
        mount(f"/dev/{name}", f"{root}/dev/{name}", "", MS_BIND)
    for name, link in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        os.symlink(f"/proc/self/fd{link}", f"{root}/dev/{name}")


def cover_proc(root: str) -> None:
    for name in UNCHANGEABLE:
        if os.path.isdir(path := f"{root}/proc/{name}"):
            bind(path, path, ATTR_RDONLY)
    for name in UNREADABLE:
        if os.path.exists(path := f"{root}/proc/{name}"):
            bind("/dev/null", path, 0)


# the function's process


def become(plan: dict[str, Any], inherited: list[int], scripts: dict[str, Any]) -> NoReturn:
    """Give up every right, and run."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, number in zip(inherited, plan["inherited"]):  # noqa: B905 - of Python 3.10
        os.dup2(descriptor, number)
        os.set_inheritable(number, True)
        os.close(descriptor)
    keep = {0, 1, 2, *plan["inherited"]}
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in keep:
            try:
                os.close(int(name))
            except OSError:
                pass  # that of the listing itself
    limit(plan)
    os.chdir(plan["directory"])
    os.umask(0o022)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
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
    """What a function brings along under the name of a module that was loaded beforehand is what it imports."""
    loaded = {name.partition(".")[0] for name in PRELOADED}
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
