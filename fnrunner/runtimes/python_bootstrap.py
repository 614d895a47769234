"""Inside the environment: imports the handler and answers invocations as Lambda's Python runtime does.

Started as ``pythonX.Y -I -u -B -X utf8 python_bootstrap.py CONTROL_FD TASK_ROOT LAYERS``; runs on Python 3.9 and later with
nothing but the standard library, and is never imported by fnrunner: it is one file because it runs alone. Beside it are
``python_imports.py``, which measures what the handler imports, ``python_streaming.py``, loaded by the first handler that
streams, and ``python_library``, which handlers may import from.
The frames are those of ``fnrunner.runtimes.frames``. Source: the Python runtime interface client. Known difference: named
tuples are answered as arrays, not as objects.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import time
from struct import Struct

TYPE_CHECKING = False  # what type checkers take for True; importing typing would cost a cold start
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, NoReturn

HELLO, READY, INIT_ERROR, RESULT, ERROR, TOO_LARGE, INVOKE = range(1, 8)
STREAM_START, CHUNK, STREAM_END, STREAM_ERROR, CANCEL = range(8, 13)
HEADER = Struct(">BIII")
LARGEST_RESPONSE = 6 * 1024 * 1024 + 100
READ_SIZE = 65536
LAMBDA_TASK_ROOT = "/var/task"
HERE = os.path.dirname(os.path.abspath(__file__))
LIBRARY = os.path.join(HERE, "python_library")
STREAMING = os.path.join(HERE, "python_streaming.py")
IMPORTS = os.path.join(HERE, "python_imports.py")
OWN = (__file__, STREAMING, IMPORTS)
MAX_CUT_CHARS = 1024
NBSP = "\u00a0"


class Fault(Exception):
    """An error of the platform's vocabulary: its type is a name such as Runtime.MarshalError."""

    def __init__(self, error_type: str, message: str, trace: list[str] | None = None) -> None:
        super().__init__(message)
        self.error_type, self.message, self.trace = error_type, message, trace


class Control:
    """The socket to the worker. A forked child has none: only the process that was asked answers."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.abandoned = False
        self.pending: bytes | bytearray = b""
        self.take(fd)
        os.register_at_fork(after_in_child=self.abandon)

    def take(self, fd: int) -> None:
        """Speak over this one from now on."""
        os.set_inheritable(fd, False)
        self.fd, self.abandoned = fd, False

    def abandon(self) -> None:
        self.abandoned = True
        try:
            os.close(self.fd)
        except OSError:
            pass  # the function closed it

    def receive(self) -> tuple[int, str, bytes | bytearray]:
        """Sequence, fields, payload of the next invocation. Leaves the process when the worker is gone."""
        data, self.pending = self.pending or self._read(), b""
        while True:
            while len(data) < HEADER.size:
                data += self._read()
            kind, sequence, fields_size, payload_size = HEADER.unpack_from(data)
            if kind == INVOKE:
                break
            # a CANCEL that came when its invocation had ended
            data = data[HEADER.size :]
        start = HEADER.size + fields_size
        whole = start + payload_size
        if len(data) < whole:
            data = self._read_rest(data, whole)
        elif len(data) > whole:
            self.pending = data[whole:]
        return sequence, str(data[HEADER.size : start], "utf-8", "surrogateescape"), data[start:whole]

    def _read(self) -> bytes:
        data = os.read(self.fd, READ_SIZE)
        if not data:
            os._exit(0)
        return data

    def _read_rest(self, data: bytes | bytearray, whole: int) -> bytearray:
        buffer = bytearray(whole)
        view = memoryview(buffer)
        position = len(data)
        view[:position] = data
        while position < whole:
            count = os.readv(self.fd, [view[position:]])
            if not count:
                os._exit(0)
            position += count
        return buffer

    @staticmethod
    def header(kind: int, sequence: int, payload_size: int) -> bytes:
        return HEADER.pack(kind, sequence, 0, payload_size)

    @staticmethod
    def cancels(head: bytes | bytearray, sequence: int) -> bool:
        """Whether this header is the CANCEL of this invocation."""
        kind, cancelled, _, _ = HEADER.unpack_from(head)
        return bool(kind == CANCEL and cancelled == sequence)

    def send(self, kind: int, sequence: int, payload: bytes = b"") -> None:
        if self.abandoned:
            os._exit(0)
        head = HEADER.pack(kind, sequence, 0, len(payload))
        sent = os.writev(self.fd, [head, payload])
        if sent < len(head) + len(payload):
            rest = memoryview(head + payload)
            while sent < len(rest):
                sent += os.write(self.fd, rest[sent:])


class CognitoIdentity:
    __slots__ = ["cognito_identity_id", "cognito_identity_pool_id"]

    def __repr__(self) -> str:
        return _described(self)


class Client:
    __slots__ = ["app_package_name", "app_title", "app_version_code", "app_version_name", "installation_id"]

    def __repr__(self) -> str:
        return _described(self)


class ClientContext:
    __slots__ = ["client", "custom", "env"]

    def __repr__(self) -> str:
        return _described(self)


def _described(value: Any, names: tuple[str, ...] = ()) -> str:
    pairs = ",".join(f"{name}={getattr(value, name)}" for name in names or value.__slots__)
    return f"{type(value).__name__}([{pairs}])"


def _filled(cls: Any, values: Any) -> Any:
    if values is None:
        return None
    made = cls()
    for name in cls.__slots__:
        setattr(made, name, values.get(name))
    return made


_NO_IDENTITY: dict[str, str] = {}


class LambdaContext:
    """What a handler gets as its second argument."""

    def __init__(
        self,
        shared: dict[str, str | None],
        request_id: str,
        deadline_ms: int,
        invoked_arn: str,
        client_context: object,
        traceparent: str,
        tracestate: str,
    ) -> None:
        self.aws_request_id = request_id
        self.__dict__.update(shared)
        self.invoked_function_arn = invoked_arn
        self.tenant_id = None
        self.client_context = _filled(ClientContext, client_context)
        if self.client_context is not None:
            self.client_context.client = _filled(Client, self.client_context.client)
        self.identity = _filled(CognitoIdentity, _NO_IDENTITY)
        self._epoch_deadline_time_in_ms = deadline_ms
        self._w3c = (("traceparent", traceparent), ("tracestate", tracestate))

    def get_remaining_time_in_millis(self) -> int:
        return max(0, self._epoch_deadline_time_in_ms - int(time.time() * 1000))

    def w3c(self) -> dict[str, str]:
        return {name: value for name, value in self._w3c if value}

    def log(self, msg: object) -> None:
        sys.stdout.write(str(msg))

    def __repr__(self) -> str:
        names = ("aws_request_id", "log_group_name", "log_stream_name", "function_name", "memory_limit_in_mb")
        more = ("function_version", "invoked_function_arn", "client_context", "identity", "tenant_id")
        return _described(self, names + more)


def shared_context() -> dict[str, str | None]:
    """The attributes that are the same for every invocation."""
    names = {
        "log_group_name": "AWS_LAMBDA_LOG_GROUP_NAME",
        "log_stream_name": "AWS_LAMBDA_LOG_STREAM_NAME",
        "function_name": "AWS_LAMBDA_FUNCTION_NAME",
        "memory_limit_in_mb": "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "function_version": "AWS_LAMBDA_FUNCTION_VERSION",
    }
    return {attribute: os.environ.get(variable) for attribute, variable in names.items()}


class Marshaller:
    """JSON as the runtime interface client writes it: from Python 3.12 on without escapes, decimals as numbers."""

    def __init__(self) -> None:
        self._encoder = json.JSONEncoder(
            ensure_ascii=sys.version_info < (3, 12), allow_nan=False, default=self._default
        )
        self._decimals: list[str] = []
        self._nonce = ""

    def encode(self, value: object) -> bytes:
        """Bytes. Raises whatever the encoder raises."""
        text = self._encoder.encode(value)
        if self._decimals:
            decimals, self._decimals = self._decimals, []
            for index, number in enumerate(decimals):
                text = text.replace(f'"{self._nonce}{index}"', number)
        return text.encode()

    def encode_error(self, result: dict[str, Any]) -> bytes:
        """Never fails: texts that are no Unicode are escaped."""
        try:
            return self.encode(result)
        except UnicodeEncodeError:
            return json.dumps(result).encode()

    def _default(self, value: Any) -> Any:
        decimal = sys.modules.get("decimal")
        if decimal is not None and isinstance(value, decimal.Decimal):
            if not value.is_finite():
                return float(value)
            # the C encoder writes no number of our own: a mark that nobody can guess is replaced afterwards
            if not self._decimals:
                self._nonce = os.urandom(16).hex() + ":"
            self._decimals.append(str(value))
            return f"{self._nonce}{len(self._decimals) - 1}"
        if isinstance(value, bytes):
            return value.decode()
        raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")

    def answer(self, value: object) -> bytes:
        try:
            return self.encode(value)
        except Exception as error:
            self._decimals = []
            raise Fault("Runtime.MarshalError", f"Unable to marshal response: {error}") from None


class Paths:
    """Shows the code directory as /var/task where the sandbox could not put it there."""

    def __init__(self, task_root: str) -> None:
        self._root = task_root.rstrip("/")

    def shown(self, text: str) -> str:
        return text if self._root == LAMBDA_TASK_ROOT else text.replace(self._root, LAMBDA_TASK_ROOT)


class JsonFormatter(logging.Formatter):
    """Log records as JSON lines, with the keys and the order of Lambda."""

    KNOWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "aws_request_id", "tenant_id"}

    def __init__(self, paths: Paths) -> None:
        super().__init__()
        self._paths = paths

    def format(self, record: Any) -> str:
        failure = record.exc_info or None
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "timestamp": f"{moment}.{int(record.msecs):03d}Z",
            "level": logging.getLevelName(min(50, max(0, record.levelno)) // 10 * 10),
            "message": record.getMessage(),
            "logger": record.name,
            "stackTrace": failure and stack_trace(failure[2], self._paths, whole=True),
            "errorType": failure and failure[0] and failure[0].__name__,
            "errorMessage": failure and str(failure[1]),
            "requestId": record.aws_request_id,
            "location": failure and f"{self._paths.shown(record.pathname)}:{record.funcName}:{record.lineno}",
        }
        line.update((key, value) for key, value in vars(record).items() if key not in self.KNOWN and key not in line)
        return json.dumps({k: v for k, v in line.items() if v is not None}, ensure_ascii=False, default=str) + "\n"


def write_log(text: str) -> None:
    """Write to stdout's descriptor in one piece, whatever the function has done to ``sys.stdout``."""
    data = text.encode("utf-8", "backslashreplace")
    try:
        while data:
            data = data[os.write(1, data) :]
    except OSError:
        pass  # the function closed its stdout


def flush_streams() -> None:
    """Only streams that the function has put in place hold anything back."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # noqa: S110 - closed, or not a stream at all
            pass


class LambdaLogHandler(logging.Handler):
    """Writes records to stdout in one write each, with the id of the running request."""

    def __init__(self) -> None:
        super().__init__()
        self.request_id = ""

    def emit(self, record: Any) -> None:
        record.aws_request_id = self.request_id
        write_log(self.format(record))


def set_up_logging(paths: Paths, json_lines: bool, level: str) -> LambdaLogHandler:
    """Give the root logger Lambda's handler; its level stays WARNING unless one is configured."""
    handler = LambdaLogHandler()
    if json_lines:
        handler.setFormatter(JsonFormatter(paths))
    else:
        logging.Formatter.converter = time.gmtime
        line = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n"
        handler.setFormatter(logging.Formatter(line, "%Y-%m-%dT%H:%M:%S"))
    root = logging.getLogger()
    level = {"TRACE": "DEBUG", "WARN": "WARNING", "FATAL": "CRITICAL"}.get(level, level)
    if level:
        root.setLevel(level)
    root.addHandler(handler)
    return handler


def stack_trace(tb: TracebackType | None, paths: Paths, whole: bool = False) -> list[str]:
    """Formatted frames, without the runtime's own at the start, nor those that only measure an import."""
    import traceback

    frames = [(frame.filename, frame.lineno or 0, frame.name, frame.line) for frame in traceback.extract_tb(tb)]
    frames = [frame for frame in frames if frame[0] != IMPORTS]
    while not whole and frames and frames[0][0] in OWN:
        del frames[0]
    return traceback.format_list([(paths.shown(frame[0]), *frame[1:]) for frame in frames])


def error_result(error: Exception, request_id: str, paths: Paths) -> dict[str, Any]:
    """The error JSON's keys, in Lambda's order."""
    if isinstance(error, Fault):
        message, kind, trace = error.message, error.error_type, error.trace or []
    else:
        kind, trace = type(error).__name__, stack_trace(error.__traceback__, paths)
        try:
            message = str(error)
        except Exception as another:
            message = f"<unprintable {kind}: {type(another).__name__}>"
    return {"errorMessage": paths.shown(message), "errorType": kind, "requestId": request_id, "stackTrace": trace}


def log_error(result: dict[str, Any], json_lines: bool, marshaller: Marshaller) -> None:
    """Write the error to the log: one JSON line, or text whose further lines are indented by no-break spaces."""
    if json_lines:
        stamp = {"timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "level": "ERROR"}
        write_log(marshaller.encode_error({**stamp, **result}).decode() + "\n")
        return
    described = ": ".join(part for part in (result["errorType"], result["errorMessage"]) if part)
    lines = ["[ERROR] " + described, "Traceback (most recent call last):"]
    for element in result["stackTrace"]:
        for line in element.splitlines():
            text = line.lstrip(" ")
            lines.append(NBSP * (len(line) - len(text)) + text)
    write_log("\n".join(lines) + "\n")


def load_handler(name: str, paths: Paths) -> Callable[..., object]:
    """The handler that ``a/b.mod.fn`` names.

    Raises: Fault, and whatever the module raises when it is imported.
    """
    try:
        module_name, function_name = name.rsplit(".", 1)
    except ValueError as error:
        raise Fault("Runtime.MalformedHandlerName", f"Bad handler '{name}': {error}") from None
    if module_name.split(".")[0] in sys.builtin_module_names:
        message = f"Cannot use built-in module {module_name} as a handler module"
        raise Fault("Runtime.BuiltInModuleConflict", message)
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as error:
        raise Fault("Runtime.ImportModuleError", f"Unable to import module '{module_name}': {error}") from error
    except SyntaxError as error:
        trace = [f'  File "{paths.shown(str(error.filename))}" Line {error.lineno}\n    {error.text}']
        message = f"Syntax error in module '{module_name}': {error}"
        raise Fault("Runtime.UserCodeSyntaxError", message, trace) from error
    try:
        handler: Callable[..., object] = getattr(module, function_name)
    except AttributeError:
        message = f"Handler '{function_name}' missing on module '{module_name}'"
        raise Fault("Runtime.HandlerNotFound", message) from None
    return handler


def load_own(name: str, path: str) -> Any:
    """A module beside this one, by its path: a function may have a module of any name."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Server:
    """Answers one invocation after the other. Everything it needs is made once, before the first."""

    def __init__(self, control: Control, paths: Paths) -> None:
        self.control, self.paths, self.marshaller = control, paths, Marshaller()
        self.json_lines = os.environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"
        self.logs = set_up_logging(paths, self.json_lines, os.environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper())
        self.shared = shared_context()
        self.traced: dict[str, str] = {}
        self.streaming: Any = None

    def initialise(self, snapshot: Any) -> None:
        """Load the handler and say so; without one, report why and leave as the runtime does.

        Where this process is to be copied, this returns in each copy and not in the original.
        """
        try:
            with load_own("_fnrunner_imports", IMPORTS).Imports() as imports:
                self.handler = load_handler(os.environ["_HANDLER"], self.paths)
            ready = imports.described(copied=snapshot is not None)
            self.writes = getattr(self.handler, "streams_response", False) is True
            restoring = os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"
            if snapshot is not None:
                self.be_copied(snapshot, restoring)
            elif restoring:
                run_hooks("before", "Runtime.BeforeSnapshotError")
                run_hooks("after", "Runtime.AfterRestoreError")
        except Exception as error:
            kind, payload = self.failed(error, "", INIT_ERROR)
            self.control.send(kind, 0, payload)
            sys.exit(1)
        self.control.send(READY, 0, ready)

    def be_copied(self, snapshot: Any, restoring: bool) -> None:
        """Say that copies can be made, or why not; in each copy, go on as an environment of its own."""
        run_hooks("before", "Runtime.BeforeSnapshotError")
        flush_streams()
        self.control.send(READY, 0, snapshot.obstacle({self.control.fd}, cut=restoring).encode())
        inherited = snapshot.wait()
        self.control.take(inherited[0])
        self.shared = shared_context()
        say_hello(self.control)
        run_hooks("after", "Runtime.AfterRestoreError")

    def serve(self) -> NoReturn:
        while True:
            sequence, fields, payload = self.control.receive()
            kind, answer = self.invoke(sequence, fields, payload)
            flush_streams()
            if len(answer) > LARGEST_RESPONSE:
                stamp = int(time.time() * 1000)
                failure = "LAMBDA_RUNTIME Failed to post handler success response. Http response code: 413."
                write_log(f"[ERROR] [{stamp}] {failure}\n")
                kind, answer = TOO_LARGE, b"%d" % len(answer)
            self.control.send(kind, sequence, answer)

    def invoke(self, sequence: int, fields: str, payload: bytes | bytearray) -> tuple[int, bytes]:
        request_id, deadline, arn, xray, parent, state, client = fields.split("\0", 6)
        self.logs.request_id = request_id
        if self.traced or xray or parent:
            self.trace({"_X_AMZN_TRACE_ID": xray, "TRACEPARENT": parent, "TRACESTATE": state})
        try:
            client_context = self.parse_client(client) if client else None
            context = LambdaContext(self.shared, request_id, int(deadline), arn, client_context, parent, state)
            if self.writes:
                return self.stream(sequence, request_id, self.handler, self.parse(payload), context)
            answer = self.handler(self.parse(payload), context)
            if isinstance(answer, bytes):
                return RESULT, answer
            if hasattr(answer, "__next__") or hasattr(answer, "__aiter__"):
                return self.stream(sequence, request_id, answer)
            return RESULT, self.marshaller.answer(answer)
        except Exception as error:
            return self.failed(error, request_id, ERROR)

    def stream(self, sequence: int, request_id: str, source: Any, *arguments: object) -> tuple[int, bytes]:
        """Send what ``source`` yields, or writes when it is called with a stream; how it ended."""
        self.streaming = self.streaming or load_own("_fnrunner_streaming", STREAMING)
        stream = self.streaming.ResponseStream(self.control, sequence)
        try:
            if arguments:
                stream.run_handler(source, *arguments)
            else:
                stream.run(source)
        except Exception as error:
            if stream.gone and isinstance(error, BrokenPipeError):
                return STREAM_END, b""
            kind, answer = self.failed(error, request_id, STREAM_ERROR if stream.started else ERROR)
            if kind == STREAM_ERROR and len(answer) > LARGEST_RESPONSE:
                told = error_result(error, request_id, self.paths)
                cut = {"errorMessage": told["errorMessage"][:MAX_CUT_CHARS], "stackTrace": []}
                answer = self.marshaller.encode_error({**told, **cut})
            return kind, answer
        return STREAM_END, b""

    def failed(self, error: Exception, request_id: str, kind: int) -> tuple[int, bytes]:
        result = error_result(error, request_id, self.paths)
        log_error(result, self.json_lines, self.marshaller)
        return kind, self.marshaller.encode_error(result)

    def parse(self, payload: bytes | bytearray) -> object:
        try:
            return json.loads(payload) if payload else {}
        except Exception as error:
            raise Fault("Runtime.UnmarshalError", f"Unable to unmarshal input: {error}") from None

    def parse_client(self, text: str) -> object:
        try:
            return json.loads(text)
        except Exception as error:
            message = f"Unable to parse Client Context JSON: {error}"
            raise Fault("Runtime.LambdaContextUnmarshalError", message) from None

    def trace(self, wanted: dict[str, str]) -> None:
        """Set the trace variables of this invocation, and remove those of the one before."""
        for name, value in wanted.items():
            if value:
                os.environ[name] = value
            else:
                os.environ.pop(name, None)
        self.traced = wanted if any(wanted.values()) else {}


def say_hello(control: Control) -> None:
    control.send(HELLO, 0, ".".join(map(str, sys.version_info[:3])).encode())


def run_hooks(when: str, error_type: str) -> None:
    """Those that the function has registered for before its snapshot or after. Raises Fault."""
    hooks = sys.modules.get("snapshot_restore_py")
    if hooks is None:
        return
    try:
        found = list(reversed(hooks.get_before_snapshot())) if when == "before" else hooks.get_after_restore()
        for function, arguments, named in found:
            function(*arguments, **named)
    except Exception as error:
        trace = stack_trace(error.__traceback__, Paths(LAMBDA_TASK_ROOT))
        raise Fault(error_type, f"{type(error).__name__}: {error}", trace) from error


def layer_paths(layers: str) -> list[str]:
    """Where layers have packages, the version's own first."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    places = f"{layers}/python/lib/{version}/site-packages", f"{layers}/python"
    return [place for place in places if os.path.isdir(place)]


def main() -> NoReturn:
    control = Control(int(sys.argv[1]))
    say_hello(control)
    task_root, layers = sys.argv[2:4]
    more = os.environ.get("PYTHONPATH", "")
    sys.path[:0] = [task_root, *layer_paths(layers), *(path for path in more.split(":") if path)]
    sys.path.append(LIBRARY)  # last: what a function brings along comes first
    server = Server(control, Paths(task_root))
    server.initialise(globals().get("snapshot"))
    server.serve()


if __name__ == "__main__":
    main()
