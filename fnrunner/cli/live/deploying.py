"""A deployment that `fnrunner dev` makes itself: what it deployed from where, or its fault in words. Blocking."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fnrunner.cli.deploy.command import show, template_of, wish_of
from fnrunner.cli.deploy.deployment import Deployment
from fnrunner.cli.deploy.local import Options
from fnrunner.cli.deploy.plan import FunctionPlan
from fnrunner.cli.error import CliError
from fnrunner.cli.output import Output


@dataclass(frozen=True, slots=True)
class Deployed:
    """A function, the digest of its zip in hex, the folder or ``.py`` file that it was made from, and its runtime."""

    function: str
    digest: str
    path: Path
    runtime: str


def deploy(path: Path, endpoint_url: str, announce: Callable[[str], None]) -> tuple[Deployed, ...] | None:
    """None when it failed: ``announce`` was told why. Functions that are made from no file here are not in it."""
    plans: dict[str, FunctionPlan] = {}
    output = Output()
    try:
        deployment = Deployment.at(
            endpoint_url,
            output,
            os.environ,
            on_plans=lambda done: plans.update({plan.spec.name: plan for plan in done}),
        )
        template = template_of(path)
        show(
            output,
            deployment.function(path, Options()) if template is None else deployment.template(wish_of(template, ())),
        )
    except CliError as error:
        announce(f"{path} could not be deployed: {error}\n{error.remedy}".rstrip())
        return None
    except (OSError, UnicodeDecodeError) as error:
        announce(f"{path} could not be deployed: {error}")
        return None
    return tuple(_deployed(plan) for plan in plans.values() if _from_files(plan.spec.code.path))


def _from_files(path: Path | None) -> bool:
    return path is not None and path.suffix != ".zip"


def _deployed(plan: FunctionPlan) -> Deployed:
    assert plan.spec.code.path is not None
    digest = base64.b64decode(plan.package.code_sha256).hex()
    runtime = str(plan.spec.configuration.get("Runtime", ""))
    return Deployed(plan.spec.name, digest, plan.spec.code.path.resolve(), runtime)
