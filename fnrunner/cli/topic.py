"""`fnrunner topic`: topics, what is published to them, and which functions hear it."""

from __future__ import annotations

import json
from typing import Any

import click

from fnrunner.cli import option
from fnrunner.cli.client import ADMIN, Client, segment
from fnrunner.cli.function import confirm
from fnrunner.cli.option import content, document, pairs
from fnrunner.cli.output import Output


def register(app: click.Group) -> None:
    group = click.Group("topic", help="Publish to topics, and let functions hear them.", no_args_is_help=True)
    for command in (create, publish, subscribe, unsubscribe, list_topics, remove):
        group.add_command(command)
    app.add_command(group)


@click.command("create")
@click.argument("name", metavar="NAME")
@option.as_json
@option.endpoint
def create(name: str, as_json: bool, endpoint_url: str) -> None:
    """Create a topic, the topic exchange NAME; nothing changes where it exists.

    With --json: {"name", "arn", "subscriptions"}.
    """
    made = Client(endpoint_url).send("PUT", topic_path(name), {})
    output = Output(as_json)
    if as_json:
        output.json(made)
    output.line(made["arn"])


@click.command("publish")
@click.argument("name", metavar="NAME")
@click.argument("message", metavar="MESSAGE|@FILE|-")
@click.option("--subject", "subject", default="", help="The message's Subject.")
@click.option("--attribute", "attribute", metavar="K=V", multiple=True, help="An attribute; repeatable.")
@option.as_json
@option.endpoint
def publish(
    name: str, message: str, subject: str, attribute: tuple[str, ...], as_json: bool, endpoint_url: str
) -> None:
    """Publish a message, confirmed by the broker.

    With --json: {"message_id", "heard"}; heard is false where nobody hears the topic.
    """
    body: dict[str, Any] = {"message": content(message, "MESSAGE").decode(errors="replace")}
    if subject:
        body["subject"] = subject
    if attribute:
        body["attributes"] = pairs(attribute, "--attribute")
    sent = Client(endpoint_url).send("POST", f"{topic_path(name)}/messages", body)
    output = Output(as_json)
    if as_json:
        output.json(sent)
    output.line(sent["message_id"])
    if not sent["heard"]:
        output.note(
            f"Nobody hears the topic {name}: `fnrunner topic subscribe {name} FUNCTION` makes a function hear it."
        )


@click.command("subscribe")
@click.argument("name", metavar="NAME")
@click.argument("function", metavar="FUNCTION")
@click.option("--filter-policy", "policy", metavar="JSON|@FILE|-", default="", help="Which messages. [default: all]")
@click.option(
    "--filter-scope", "scope", type=click.Choice(["MessageAttributes", "MessageBody"]), default="MessageAttributes",
    show_default=True, help="What the policy is about.",
)  # fmt: skip
@option.as_json
@option.endpoint
def subscribe(name: str, function: str, policy: str, scope: str, as_json: bool, endpoint_url: str) -> None:
    """Let FUNCTION hear the topic NAME; again with another policy, that one holds.

    A topic that is not there is made. With --json: {"id", "arn", "topic", "function", "qualifier", "filter_policy",
    "filter_scope", "topic_made"}.
    """
    body: dict[str, Any] = {"function": function, "filter_scope": scope}
    if policy:
        body["filter_policy"] = json.loads(document(policy, "--filter-policy"))
    client, output = Client(endpoint_url), Output(as_json)
    made = client.send("PUT", f"{topic_path(name)}/subscriptions", body)
    if as_json:
        output.json(made)
    output.line(made["id"])
    if made["topic_made"]:
        _note_made(client, output, name)


def _note_made(client: Client, output: Output, name: str) -> None:
    """A name that was mistyped is made as any other: say so, and which there is that looks like it."""
    from difflib import get_close_matches

    others = [topic["name"] for topic in client.get(f"{ADMIN}/topics")["topics"] if topic["name"] != name]
    near = get_close_matches(name, others, 1)
    asked = f" Did you mean {near[0]}? `fnrunner topic rm {name}` takes the new one away." if near else ""
    output.note(f"There was no topic {name}: it was made.{asked}")


@click.command("unsubscribe")
@click.argument("subscription", metavar="ID")
@option.as_json
@option.endpoint
def unsubscribe(subscription: str, as_json: bool, endpoint_url: str) -> None:
    """Let a function hear a topic no more; `ls` shows ids. With --json: {"removed": ID}."""
    Client(endpoint_url).call("DELETE", f"{ADMIN}/subscriptions/{segment(subscription)}")
    output = Output(as_json)
    if as_json:
        output.json({"removed": subscription})
    output.line(f"Removed {subscription}.")


@click.command("ls")
@option.as_json
@option.endpoint
def list_topics(as_json: bool, endpoint_url: str) -> None:
    """List topics with who hears them. With --json: {"topics": [{"name", "arn", "subscriptions": [{"id", …}]}]}."""
    found = Client(endpoint_url).get(f"{ADMIN}/topics")
    output = Output(as_json)
    if as_json:
        output.json(found)
        return
    rows = [
        (topic["name"], one["function"], one["id"], one["filter_policy"] or "all")
        for topic in found["topics"]
        for one in topic["subscriptions"] or [{"function": "-", "id": "-", "filter_policy": "-"}]
    ]
    output.table(
        ("NAME", "FUNCTION", "SUBSCRIPTION", "MESSAGES"),
        rows,
        empty="There are no topics yet. `fnrunner topic create NAME` makes one.",
    )


@click.command("rm")
@click.argument("name", metavar="NAME")
@click.option("--yes", "-y", "yes", is_flag=True, help="Do not ask.")
@option.as_json
@option.endpoint
def remove(name: str, yes: bool, as_json: bool, endpoint_url: str) -> None:
    """Remove a topic with its subscriptions. With --json: {"removed": NAME}."""
    confirm(f"Remove the topic {name} with its subscriptions?", yes)
    Client(endpoint_url).call("DELETE", topic_path(name))
    output = Output(as_json)
    if as_json:
        output.json({"removed": name})
    output.line(f"Removed {name}.")


def topic_path(name: str) -> str:
    """The path of a topic."""
    return f"{ADMIN}/topics/{segment(name)}"
