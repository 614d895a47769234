"""What stacks share: values that one exports and others import by name. Pure.

An export's name is one stack's alone, and what is imported stays as it is: it neither goes nor changes. Each stack writes down
what it wants before it looks at the others, so that of two that get in each other's way at least one sees it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fnrunner.cli.deploy.stack_record import Record, Status
from fnrunner.cli.error import UsageFault


class ExportTaken(UsageFault):
    """Another stack exports a value of this name."""


class ExportInUse(UsageFault):
    """Another stack imports the value, which has to stay as it is."""


class NotExported(UsageFault):
    """No stack exports a value of this name."""


def values(others: Iterable[Record]) -> dict[str, str]:
    """What can be imported."""
    return {
        name: value
        for one in others
        if one.status is not Status.DELETING
        for name, value in one.exports.items()
    }  # fmt: skip


def check(record: Record, wanted: Mapping[str, str], imports: Iterable[str], others: Iterable[Record]) -> None:
    """Whether a stack may export ``wanted`` in place of what it does, and import. Raises ExportTaken, ExportInUse,
    NotExported."""
    known = list(others)
    for one in known:
        if taken := sorted(set(wanted) & {*one.exports, *one.claims}):
            raise ExportTaken(
                f"The stack {one.name} exports {', '.join(taken)} already",
                "Export it by another name, such as !Sub ${AWS::StackName}-NAME.",
            )
    different = {name for name, value in record.exports.items() if wanted.get(name) != value}
    check_unused(different, known)
    if missing := sorted(set(imports) - set(values(known))):
        raise NotExported(f"No stack exports {', '.join(missing)}", "Deploy the stack that does first.")


def check_unused(names: Iterable[str], others: Iterable[Record]) -> None:
    """Raises ExportInUse."""
    wanted = set(names)
    for one in others:
        if used := sorted(wanted & set(one.imports)):
            raise ExportInUse(
                f"The stack {one.name} imports {', '.join(used)}, which can neither go nor change until it does so no more",
                f"Deploy {one.name} without Fn::ImportValue of it first, or remove it with `fnrunner stack rm {one.name}`.",
            )
