"""The environment variables of a function: the platform's, with the user's where Lambda lets users set them.

Source: Lambda, defined runtime environment variables. Not set because nothing answers there: the Runtime API's
address, X-Ray's daemon. Credentials are set where callers of the API have to sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from fnrunner.model.invocation import EnvironmentSpec
from fnrunner.runtimes.runtime import Layout

WRAPPER = "AWS_LAMBDA_EXEC_WRAPPER"
_ENDPOINTS = tuple(f"AWS_ENDPOINT_URL_{service}" for service in ("IAM", "LAMBDA", "STS"))
USUAL_OPT = "/opt"
USUAL_TMP = "/tmp"  # noqa: S108 - its name inside an environment


def platform_variables(spec: EnvironmentSpec, layout: Layout, log_stream: str) -> dict[str, str]:
    """Those that only the platform may set: they win over the user's."""
    variables = {
        "AWS_LAMBDA_FUNCTION_NAME": spec.function,
        "AWS_LAMBDA_FUNCTION_VERSION": spec.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(spec.memory_mb),
        "AWS_LAMBDA_INITIALIZATION_TYPE": spec.initialization_type,
        "AWS_LAMBDA_LOG_GROUP_NAME": spec.log_group,
        "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
        "AWS_REGION": spec.region,
        "AWS_DEFAULT_REGION": spec.region,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{spec.runtime}",
        "_HANDLER": spec.handler,
        "LAMBDA_TASK_ROOT": layout.task_root,
        "LAMBDA_RUNTIME_DIR": layout.runtime_directory,
        "AWS_LAMBDA_LOG_FORMAT": spec.log_format,
    }
    if spec.application_log_level:
        variables["AWS_LAMBDA_LOG_LEVEL"] = spec.application_log_level
    return variables | dict(spec.credentials)


def default_variables(layout: Layout) -> dict[str, str]:
    """Those that the user may override."""
    private_tmp = {} if layout.temporary == USUAL_TMP else {"TMPDIR": layout.temporary}
    return {
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PATH": f"/usr/local/bin:/usr/bin:/bin:{layout.opt}/bin",
        "LD_LIBRARY_PATH": f"{layout.task_root}:{layout.task_root}/lib:{layout.opt}/lib",
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "PWD": layout.task_root,
        "SHLVL": "0",
    } | private_tmp


def endpoint_variables(api_url: str, given: Mapping[str, str]) -> dict[str, str]:
    """Where AWS's SDKs find the API that the platform's credentials are good for; ``given`` are the user's, which win.

    >>> sorted(endpoint_variables("http://127.0.0.1:9000", {}))
    ['AWS_ENDPOINT_URL_IAM', 'AWS_ENDPOINT_URL_LAMBDA', 'AWS_ENDPOINT_URL_STS']
    >>> endpoint_variables("http://127.0.0.1:9000", {"AWS_ENDPOINT_URL": "http://other"}), endpoint_variables("", {})
    ({}, {})
    """
    if not api_url or "AWS_ENDPOINT_URL" in given:
        return {}
    return {name: api_url for name in _ENDPOINTS if name not in given}


def wrapper_of(spec: EnvironmentSpec, layout: Layout) -> str:
    """The script that the user wants the runtime started by, where layers are in this environment; empty: none.

    It gets the runtime's command as its arguments. Source: Lambda, wrapper scripts.
    """
    wrapper = spec.variables.get(WRAPPER, "")
    if wrapper.startswith(f"{USUAL_OPT}/"):
        return layout.opt + wrapper.removeprefix(USUAL_OPT)
    return wrapper


def function_variables(spec: EnvironmentSpec, layout: Layout, log_stream: str) -> Mapping[str, str]:
    """The whole environment of the function."""
    return MappingProxyType(
        default_variables(layout) | dict(spec.variables) | platform_variables(spec, layout, log_stream)
    )
