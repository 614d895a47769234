"""Which permission each operation of the Lambda API needs, on which resource: a table.

>>> home = Home()
>>> needed("Invoke", {"FunctionName": "f", "Qualifier": "prod"}, home)[0].resource
'arn:aws:lambda:us-east-1:000000000000:function:f:prod'
>>> [need.action for need in needed("CreateFunction", {"FunctionName": "f", "Role": "arn:aws:iam::1:role/r"}, home)]
['lambda:CreateFunction', 'iam:PassRole']

Parameters are named as in the model. What they lack makes the resource one that no policy of a single function covers: the
operation refuses them afterwards. Source: Service Authorization Reference, AWS Lambda; identity-based policies for Lambda.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from fnrunner.auth.pattern import Context
from fnrunner.model.arn import FunctionRef, Home, InvalidArn
from fnrunner.model.layer import LayerRef

Params = Mapping[str, Any]
Where = Callable[[Params, Home], str]

_INVOKE = "lambda:InvokeFunction"
_FUNCTION = "lambda:functionarn"
PASSED_TO = "lambda.amazonaws.com"
ANYTHING = "*"
_PACKAGES: Mapping[str, str] = {"CreateFunction": "Code", "UpdateFunctionCode": "", "PublishLayerVersion": "Content"}
"""Operations that take a package, and the structure that says where it is; empty: the parameters themselves."""

_PARTITION = re.compile(r"arn:(aws[a-zA-Z0-9-]*)?:")


@dataclass(frozen=True, slots=True)
class Need:
    """One permission. ``context`` has the condition keys that only this one has."""

    action: str
    resource: str
    context: Context = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Rule:
    where: Where
    action: str = ""


def needed(operation: str, params: Params, home: Home) -> tuple[Need, ...]:
    """Everything that the caller must be allowed, the operation itself first. Raises KeyError for no operation."""
    rule = _RULES[operation]
    own = Need(rule.action or f"lambda:{operation}", rule.where(params, home), _context(params, home))
    if operation == "UpdateEventSourceMapping":
        return _moved(own)
    return (own, *_dependent(operation, params, own, home))


def operations() -> frozenset[str]:
    """Those that the table has."""
    return frozenset(_RULES)


def _moved(own: Need) -> tuple[Need, ...]:
    """A mapping may be changed by whom its present function is open to, and the one that it is to have, if it changes."""
    before = {key: values for key, values in own.context.items() if key != _FUNCTION}
    present = Need(own.action, own.resource, MappingProxyType(before))
    return (present, own) if _FUNCTION in own.context else (present,)


def _dependent(operation: str, params: Params, own: Need, home: Home) -> list[Need]:
    needs = []
    if operation in ("CreateFunction", "UpdateFunctionConfiguration"):
        if role := _text(params, "Role"):
            needs.append(Need("iam:PassRole", _canonical(role, home), {"iam:passedtoservice": (PASSED_TO,)}))
        needs += [Need("lambda:GetLayerVersion", layer) for layer in _layers(params, home)]
    if operation in ("CreateFunction", "CreateEventSourceMapping", "CreateCodeSigningConfig") and params.get("Tags"):
        needs.append(Need("lambda:TagResource", own.resource, own.context))
    needs += _reading(operation, params)
    return needs + [invocation(arn, "", home) for arn in _destinations(params) if ":lambda:" in arn]


def _reading(operation: str, params: Params) -> list[Need]:
    """Whoever deploys what is in a bucket must be allowed to read it: they could download it from the function."""
    where: Any = params if (member := _PACKAGES.get(operation)) == "" else params.get(member or "")
    if not isinstance(where, Mapping) or not (_text(where, "S3Bucket") or _text(where, "S3Key")):
        return []
    action = "s3:GetObjectVersion" if _text(where, "S3ObjectVersion") else "s3:GetObject"
    return [Need(action, f"arn:aws:s3:::{_text(where, 'S3Bucket')}/{_text(where, 'S3Key')}")]


def invocation(function: str, qualifier: str, home: Home) -> Need:
    """What whoever lets something else invoke a function must be allowed: to invoke it. ``function``: name or ARN."""
    return Need(_INVOKE, _function_arn(function, qualifier, home, keep=True))


def _destinations(params: Params) -> tuple[str, ...]:
    """Where the results of a function's events go."""
    config = params.get("DestinationConfig")
    sides = config.values() if isinstance(config, Mapping) else ()
    return tuple(arn for side in sides if isinstance(side, Mapping) for arn in _texts(side.get("Destination")))


def _context(params: Params, home: Home) -> Context:
    """The condition keys that parameters stand for."""
    vpc = params.get("VpcConfig")
    vpc = vpc if isinstance(vpc, Mapping) else {}
    tags = params.get("Tags")
    tags = tags if isinstance(tags, Mapping) else {}
    found: dict[str, tuple[str, ...]] = {
        "lambda:layer": _layers(params, home),
        "lambda:principal": _texts(params.get("Principal")),
        "lambda:functionurlauthtype": _texts(params.get("FunctionUrlAuthType") or params.get("AuthType")),
        "lambda:codesigningconfigarn": _texts(_canonical(_text(params, "CodeSigningConfigArn"), home)),
        "lambda:subnetids": _texts(vpc.get("SubnetIds")),
        "lambda:securitygroupids": _texts(vpc.get("SecurityGroupIds")),
        "aws:tagkeys": _texts(list(tags)) or _texts(params.get("TagKeys")),
        **{f"aws:requesttag/{key}".lower(): _texts(value) for key, value in tags.items()},
    }
    if name := _text(params, "FunctionName"):
        found[_FUNCTION] = (_function_arn(name, "", home),)
    return MappingProxyType({key: values for key, values in found.items() if values})


def _function(params: Params, home: Home) -> str:
    return _function_arn(_text(params, "FunctionName"), "", home)


def _qualified(params: Params, home: Home) -> str:
    return _function_arn(_text(params, "FunctionName"), _text(params, "Qualifier"), home, keep=True)


def _function_arn(name: str, qualifier: str, home: Home, *, keep: bool = False) -> str:
    """With ``keep`` the qualifier that stands in the name is kept."""
    try:
        ref = FunctionRef.parse(name)
    except InvalidArn:
        return home.function(name or "*")
    where = Home(ref.region or home.region, ref.account or home.account)
    return where.function(ref.name, (ref.qualifier or qualifier) if keep else "")


def _anything(_: Params, __: Home) -> str:
    return ANYTHING


def _mapping(params: Params, home: Home) -> str:
    return home.mapping(_text(params, "UUID"))


def _layer(params: Params, home: Home) -> str:
    return _layer_arn(_text(params, "LayerName"), home)


def _layer_version(params: Params, home: Home) -> str:
    return f"{_layer(params, home)}:{params.get('VersionNumber', '*')}"


def _layer_arn(name: str, home: Home) -> str:
    """Of the layer as a whole, whatever version stands in the name."""
    try:
        ref = LayerRef.parse(name)
    except InvalidArn:
        return home.layer(name)
    return Home(ref.region or home.region, ref.account or home.account).layer(ref.name)


def _given(name: str) -> Where:
    """The resource is what a parameter says."""
    return lambda params, home: _canonical(_text(params, name), home) or ANYTHING


def _canonical(arn: str, home: Home) -> str:
    """The one spelling in which policies name it: operations take an ARN of any partition, and versions with zeros before.

    >>> _canonical("arn:aws-cn:lambda:us-east-1:000000000000:layer:l:007", Home())
    'arn:aws:lambda:us-east-1:000000000000:layer:l:7'
    """
    if not arn.startswith("arn:"):
        return arn
    arn = _PARTITION.sub("arn:aws:", arn, count=1)
    with contextlib.suppress(InvalidArn):
        layer = LayerRef.parse(arn)
        return Home(layer.region, layer.account).layer(layer.name, layer.version)
    with contextlib.suppress(InvalidArn):
        FunctionRef.parse(arn)
        return _function_arn(arn, "", home, keep=True)
    return arn


def _provider(params: Params, home: Home) -> str:
    name = _text(params, "CapacityProviderName")
    if name.startswith("arn:"):
        return _canonical(name, home)
    return f"arn:aws:lambda:{home.region}:{home.account}:capacity-provider:{name}"


def _layers(params: Params, home: Home) -> tuple[str, ...]:
    return tuple(_canonical(arn, home) for arn in _texts(params.get("Layers")))


def _text(params: Params, name: str) -> str:
    value = params.get(name)
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list | tuple) else (value,)
    return tuple(one for one in values if isinstance(one, str) and one)


def _rules() -> Mapping[str, _Rule]:
    table: dict[str, _Rule] = {}
    for where, names in _PLACES:
        table.update({name: _Rule(where) for name in names.split()})
    table["Invoke"] = table["InvokeWithResponseStream"] = _Rule(_qualified, _INVOKE)
    table["InvokeAsync"] = _Rule(_qualified, _INVOKE)
    table["GetLayerVersionByArn"] = _Rule(_given("Arn"), "lambda:GetLayerVersion")
    return MappingProxyType(table)


_PLACES: tuple[tuple[Where, str], ...] = (
    (
        _function,
        "CreateFunction DeleteFunction GetFunction GetFunctionConfiguration UpdateFunctionCode UpdateFunctionConfiguration "
        "PublishVersion ListVersionsByFunction CreateAlias DeleteAlias GetAlias ListAliases UpdateAlias "
        "DeleteFunctionCodeSigningConfig GetFunctionCodeSigningConfig PutFunctionCodeSigningConfig "
        "DeleteFunctionConcurrency GetFunctionConcurrency PutFunctionConcurrency ListProvisionedConcurrencyConfigs "
        "ListFunctionEventInvokeConfigs ListFunctionUrlConfigs GetFunctionRecursionConfig PutFunctionRecursionConfig "
        "ListDurableExecutionsByFunction",
    ),
    (
        _qualified,
        "AddPermission RemovePermission GetPolicy CreateFunctionUrlConfig DeleteFunctionUrlConfig GetFunctionUrlConfig "
        "UpdateFunctionUrlConfig DeleteFunctionEventInvokeConfig GetFunctionEventInvokeConfig PutFunctionEventInvokeConfig "
        "UpdateFunctionEventInvokeConfig DeleteProvisionedConcurrencyConfig GetProvisionedConcurrencyConfig "
        "PutProvisionedConcurrencyConfig GetRuntimeManagementConfig PutRuntimeManagementConfig GetFunctionScalingConfig "
        "PutFunctionScalingConfig",
    ),
    (
        _anything,
        "ListFunctions GetAccountSettings ListLayers ListCodeSigningConfigs CreateCodeSigningConfig ListEventSourceMappings "
        "CreateEventSourceMapping ListCapacityProviders",
    ),
    (_mapping, "GetEventSourceMapping UpdateEventSourceMapping DeleteEventSourceMapping"),
    (_layer, "PublishLayerVersion ListLayerVersions"),
    (
        _layer_version,
        "GetLayerVersion DeleteLayerVersion GetLayerVersionPolicy AddLayerVersionPermission RemoveLayerVersionPermission",
    ),
    (_given("Resource"), "ListTags TagResource UntagResource"),
    (_given("ResourceArn"), "GetResourcePolicy PutResourcePolicy DeleteResourcePolicy"),
    (
        _given("CodeSigningConfigArn"),
        "GetCodeSigningConfig UpdateCodeSigningConfig DeleteCodeSigningConfig ListFunctionsByCodeSigningConfig",
    ),
    (
        _provider,
        "CreateCapacityProvider GetCapacityProvider UpdateCapacityProvider DeleteCapacityProvider "
        "ListFunctionVersionsByCapacityProvider",
    ),
    (
        _given("DurableExecutionArn"),
        "CheckpointDurableExecution GetDurableExecution GetDurableExecutionHistory GetDurableExecutionState "
        "StopDurableExecution DeleteDurableExecution PauseDurableExecution ResumeDurableExecution",
    ),
    (
        _anything,
        "SendDurableExecutionCallbackFailure SendDurableExecutionCallbackHeartbeat SendDurableExecutionCallbackSuccess",
    ),
)

_RULES = _rules()
