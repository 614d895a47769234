"""Finding the handler in source code, by reading it and never by running it. Pure.

>>> find({"app.py": "def handler(event, context): ..."})
'app.handler'
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import PurePath

from fnrunner.cli.error import UsageFault

MODULES = ("app.py", "lambda_function.py", "main.py", "index.py", "handler.py")
FUNCTIONS = ("handler", "lambda_handler", "main")


def handlers(source: str) -> list[str]:
    """The names of the top-level functions that look like a handler: known by name, callable with two arguments.

    >>> handlers("async def handler(e, c): ...\\ndef main(): ...")
    []
    """
    tree = ast.parse(source)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [node.name for node in functions if node.name in FUNCTIONS and _takes_two(node.args)]


def find(sources: Mapping[str, str]) -> str:
    """``MODULE.FUNCTION`` among the ``.py`` files of one folder, by name and text.

    Raises UsageFault when there is none, or more than one could be meant.
    """
    known = {name: text for name, text in sources.items() if name in MODULES} or (sources if len(sources) == 1 else {})
    if not known:
        looked = ", ".join(MODULES)
        raise UsageFault(
            f"No handler found: there is none of {looked}, and {'no' if not sources else 'more than one'} other .py file",
            "Name it with --handler MODULE.FUNCTION.",
        )
    candidates = [f"{PurePath(name).stem}.{function}" for name in known for function in _handlers_of(name, known[name])]
    if not candidates:
        raise UsageFault(
            f"No handler found in {', '.join(known)}: a function {', '.join(FUNCTIONS)} with two parameters, event and context",
            "Name it with --handler MODULE.FUNCTION.",
        )
    if len(candidates) > 1:
        raise UsageFault(
            f"More than one handler could be meant: {', '.join(candidates)}", f"Say which: --handler {candidates[0]}"
        )
    return candidates[0]


def _handlers_of(name: str, text: str) -> list[str]:
    try:
        return handlers(text)
    except SyntaxError as error:
        raise UsageFault(
            f"{name}:{error.lineno}: {error.msg}", "Correct the source: the function could not be started as it is."
        ) from error


def _takes_two(args: ast.arguments) -> bool:
    positional = len(args.posonlyargs) + len(args.args)
    needed = positional - len(args.defaults)
    required_keywords = any(default is None for default in args.kw_defaults)
    return needed <= 2 and (positional >= 2 or args.vararg is not None) and not required_keywords
