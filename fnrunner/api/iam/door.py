"""IAM and STS behind ``POST /``: which operation a form asks for, what it needs, and its answer in XML."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel
from starlette.types import Send

from fnrunner.api.iam import policy, role, simulate, sts, user
from fnrunner.api.iam.call import Call, Route
from fnrunner.api.iam.protocol import Form, read_params, render, validate
from fnrunner.api.response import send
from fnrunner.auth.action import Need
from fnrunner.auth.claims import SignatureRefused
from fnrunner.auth.iam import Iam, Known
from fnrunner.auth.iam_error import IamError, InvalidInput, ValidationError
from fnrunner.auth.identity import Kind
from fnrunner.auth.pattern import Context
from fnrunner.auth.subject import Subject

MAX_BODY_BYTES = 1024 * 1024
MAX_FIELDS = 1000


class InvalidAction(IamError):
    """There is no such operation."""

    code, status = "InvalidAction", 400


@dataclass(frozen=True, slots=True)
class _Service:
    name: str
    model: ServiceModel
    routes: Mapping[str, Route]


@dataclass(frozen=True, slots=True)
class Asked:
    """An operation with its parameters, read and validated."""

    service: _Service
    model: OperationModel
    route: Route
    params: Mapping[str, Any]


class IamApi:
    """Loads the models of both services, which takes some tenths of a second."""

    def __init__(self, iam: Iam, now: Callable[[], datetime]) -> None:
        self._iam = iam
        self._now = now
        found = (
            _service("iam", (*user.ROUTES, *role.ROUTES, *policy.ROUTES, *simulate.ROUTES)),
            _service("sts", sts.ROUTES),
        )
        self._services = {one.model.api_version: one for one in found}

    def namespace(self, service: str) -> str:
        """The XML namespace of a service's answers."""
        found = next((one for one in self._services.values() if one.name == service), None)
        return str((found or next(iter(self._services.values()))).model.metadata["xmlNamespace"])

    def read(self, query: str, content: bytes, signed_for: str) -> Asked:
        """``signed_for`` is the service in the signature. Raises InvalidAction, ValidationError, SignatureRefused."""
        form = _form(query, content)
        action, version = form.get("Action", ""), form.get("Version", "")
        service = self._services.get(version)
        if service is None or action not in service.model.operation_names:
            raise InvalidAction(
                f"Could not find operation {action[:128] or '(none)'} for version {version[:32] or 'NO_VERSION'}"
            )
        if signed_for != service.name:
            raise SignatureRefused(f"Credential should be scoped to correct service: '{service.name}'. ")
        if (route := service.routes.get(action)) is None:
            raise InvalidAction(f"fnrunner does not have the operation {action} of {service.name} yet.")
        model = service.model.operation_model(action)
        params = read_params(model.input_shape, form)
        if refused := [name for name in route.unsupported if name in params]:
            raise InvalidInput(f"fnrunner does not support {refused[0]} of {action} yet.")
        return Asked(service, model, route, params)

    def subject(self, asked: Asked, caller: Known) -> Subject:
        """What the caller must be allowed. STS decides for itself."""
        operation = asked.route.operation
        changes = not operation.startswith(("Get", "List", "Simulate"))
        needs: tuple[Need, ...] = ()
        if asked.service.name == "iam":
            context = {"iam:policyarn": (str(arn),)} if (arn := asked.params.get("PolicyArn")) else {}
            needs = (Need(f"iam:{operation}", self._resource(asked, caller), context),)
        return Subject(asked.service.name, operation, needs, changes, asked.params)

    async def respond(self, send_: Send, asked: Asked, caller: Known, request_id: str, context: Context) -> int:
        """Carry it out and send the answer; its status. Raises IamError before anything is sent."""
        validate(asked.model.input_shape, asked.params)
        call = Call(asked.route.operation, asked.params, self._iam, caller, self._now(), context)
        result = await asked.route.handle(call)
        content = render(asked.model, result, request_id, self.namespace(asked.service.name))
        headers = [(b"content-type", b"text/xml"), (b"content-length", b"%d" % len(content))]
        await send(send_, 200, [*headers, (b"x-amzn-requestid", request_id.encode())], content)
        return 200

    def _resource(self, asked: Asked, caller: Known) -> str:
        """With the path that the user or role has, and the case in which it was made; the caller where none is named."""
        if _about_caller(asked):
            return caller.principal.arn
        for kind, key in ((Kind.USER, "UserName"), (Kind.ROLE, "RoleName")):
            name = str(asked.params.get(key, "")).lower()
            for (one_kind, one_name), one in self._iam.directory.identities.items():
                if one_kind is kind and name and one_name.lower() == name:
                    return one.arn(self._iam.home)
        return asked.route.resource(asked.params, self._iam.home.account)


def _about_caller(asked: Asked) -> bool:
    """Whether the operation is about the user that calls, since it names no other."""
    shape = asked.model.input_shape
    if shape is None or asked.params.get("UserName") or "UserName" in shape.required_members:
        return False
    return "UserName" in shape.members


def _service(name: str, routes: tuple[Route, ...]) -> _Service:
    model = ServiceModel(Loader().load_service_model(name, "service-2"), name)
    return _Service(name, model, {route.operation: route for route in routes})


def _form(query: str, content: bytes) -> Form:
    """Of a body, or of the query where a presigned URL is all there is. Raises ValidationError."""
    text = content.decode("utf-8", "replace") or query
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise ValidationError(f"The form has more than {MAX_FIELDS} fields.") from error
    form = dict(pairs)
    if len(form) != len(pairs):
        raise ValidationError("A field of the form is there twice.")
    return form
