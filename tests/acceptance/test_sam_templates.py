"""Applications as `sam init` lays them out: deployed, exercised by the events that they are about, changed, removed.

By default some of them on the embedded broker. FNRUNNER_TEST_SAM=all takes all of them, and FNRUNNER_TEST_SAM=rabbitmq all of
them on RabbitMQ with the roles as processes of their own.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from fnrunner.cli.main import run
from tests.installation import ROOT, RUNTIME, Installation, NotInTime, eventually

WHICH = os.environ.get("FNRUNNER_TEST_SAM", "some")
SOME = ("hello-world", "orders-api", "prices", "canary", "plain")
EXAMPLES = ROOT / "examples" / "sam"


@pytest.fixture(scope="module")
def installation(request: pytest.FixtureRequest) -> Iterator[Installation]:
    """One for all templates: each is deployed beside what others left, which is nothing."""
    with TemporaryDirectory(dir="/var/tmp") as directory:
        if WHICH != "rabbitmq":
            with Installation(Path(directory)) as found:
                found.start("dev")
                yield found
            return
        url = request.getfixturevalue("rabbitmq").make_vhost()
        with Installation(Path(directory), url) as found:
            for role in ("api", "worker", "sources"):
                found.start(role, wait=False)
            found.wait_ready(found.processes["api"], "api", f"{found.url}/readyz")
            yield found


@dataclass
class Application:
    """A copy of an example, to change at will, and the installation that it is deployed to."""

    installation: Installation
    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    def command(self, *words: str, status: int = 0) -> str:
        out, err = io.TextIOWrapper(io.BytesIO()), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            found = run([*words, "--endpoint-url", self.installation.url])
        out.seek(0)
        said = out.read()
        assert found == status, (words, said, err.getvalue())
        return said

    def deploy(self, *words: str) -> dict[str, Any]:
        parameter = ("--parameter", f"Runtime={RUNTIME}")
        report: dict[str, Any] = json.loads(self.command("deploy", str(self.folder), *parameter, *words, "--json"))
        return report

    def change(self, old: str, new: str) -> None:
        """In the source or the template, where the text is."""
        (file,) = (one for one in self.folder.rglob("*") if one.is_file() and old in one.read_text())
        file.write_text(file.read_text().replace(old, new))

    def says(self, function: str, text: str) -> None:
        """The function's log comes to have a line with the text."""
        eventually(lambda: text in self.command("logs", function))

    def send(self, queue: str, body: object) -> None:
        self.command("queue", "send", queue, body if isinstance(body, str) else json.dumps(body))

    def visit(self, url: str, method: str = "GET", **rest: Any) -> httpx.Response:
        """Not every system's resolver knows names below ``localhost``."""
        asked = httpx.URL(url)
        headers = {**rest.pop("headers", {}), "Host": asked.netloc.decode()}
        here = asked.copy_with(host="127.0.0.1")
        return httpx.request(method, here, headers=headers, timeout=60, **rest)

    def received(self, queue: str) -> str:
        return str(eventually(lambda: self.command("queue", "receive", queue)))


Exercise = Callable[[Application, dict[str, Any], bool], None]
"""Makes the event and sees the effect. The flag: after the change."""


def hello_world(app: Application, report: dict[str, Any], changed: bool) -> None:
    url = report["outputs"]["HelloWorldApi"]
    assert url.endswith("/Prod/hello/")
    assert url.startswith(report["http_apis"][0]["url"])
    greeting = "goodbye" if changed else "hello"
    told = app.visit(url)
    said = {"message": f"{greeting} world", "method": "GET", "stage": "Prod"}
    assert (told.status_code, told.json(), told.headers["x-greeted"]) == (200, said, "world")
    assert app.visit(f"{url}you", "POST").json()["message"] == f"{greeting} you"
    missing = app.visit(url, "POST")
    assert (missing.status_code, missing.json()) == (403, {"message": "Missing Authentication Token"})


def uploads(app: Application, report: dict[str, Any], changed: bool) -> None:
    name = "second.txt" if changed else "first.txt"
    Path(report["outputs"]["DropInto"], name).write_text("one two three")
    app.says("uploads-count-words", f"{name}: 3 {'of them' if changed else 'words'}")


def orders_api(app: Application, report: dict[str, Any], changed: bool) -> None:
    url = report["outputs"]["Endpoint"]
    assert report["outputs"]["Console"] == url
    made = app.visit(url, "POST", json={"id": 7, "what": "tea"})
    assert (made.status_code, made.json()) == (201, {"id": 7, "said": "Danke" if changed else "Thank you"})
    assert app.visit(f"{url}/7").json() == {"id": 7, "what": "tea"}
    assert app.visit(f"{url}/8").status_code == 404
    preflight = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    assert app.visit(url, "OPTIONS", headers=preflight).headers["access-control-allow-origin"] == "*"


def reminder(app: Application, report: dict[str, Any], changed: bool) -> None:
    wait = timedelta(seconds=3)
    while True:
        soon = datetime.now(UTC) + wait
        app.deploy("--parameter", f"At={soon:%Y-%m-%dT%H:%M:%S}")
        if datetime.now(UTC) < soon:
            break
        # a time that had passed when it was deployed is not made up for
        wait *= 2
    app.says("reminder-remind", "memo: once" if changed else "reminder: once")
    app.deploy()


def mailer(app: Application, report: dict[str, Any], changed: bool) -> None:
    app.send("mailer-mails", {"to": "a@example.org", "subject": "hello"})
    app.says("mailer-send", f"from {'us' if changed else 'shop'}@example.org to a@example.org: hello")
    if not changed:
        app.send("mailer-mails", {"to": "nobody", "subject": "lost"})
        assert "nobody" in app.received("mailer-undeliverable")


def newsletter(app: Application, report: dict[str, Any], changed: bool) -> None:
    section, news = ("sports", "a goal") if changed else ("culture", "a book")
    app.command("topic", "publish", "newsletter-news", news, "--attribute", f"section={section}")
    app.says("newsletter-everything", f"{'learned' if changed else 'read'}: {news}")
    assert '"condition": "Success"' in app.received("newsletter-heard").replace('":"', '": "')
    if changed:
        app.says("newsletter-only-sports", "learned: a goal")
        assert "a book" not in app.command("logs", "newsletter-only-sports")


def clicks(app: Application, report: dict[str, Any], changed: bool) -> None:
    page = "/late" if changed else "/early"
    for kind in ("click", "scroll", "click"):
        app.command("stream", "put", "clicks-clicks", json.dumps({"kind": kind, "page": page}), "--key", page)
    app.says("clicks-count", f"{page}: ")
    app.says("clicks-count", "hits" if changed else "clicks")
    assert "scroll" not in app.command("logs", "clicks-count")


def audit_trail(app: Application, report: dict[str, Any], changed: bool) -> None:
    key = "late" if changed else "early"
    record = {"eventName": "INSERT", "dynamodb": {"Keys": {key: {"S": "1"}}, "NewImage": {key: {"S": "1"}}}}
    app.command("stream", "put", "accounts", json.dumps(record), "--key", key)
    app.says("audit-trail-audit", f"INSERT {'noted' if changed else 'changed'} ['{key}']")


def print_jobs(app: Application, report: dict[str, Any], changed: bool) -> None:
    text = "late" if changed else "early"
    app.send("print-jobs", text)
    app.says("print-jobs-print", f"{'on paper' if changed else 'printed'}: {text}")


def greeter(app: Application, report: dict[str, Any], changed: bool) -> None:
    mark = "?" if changed else "!"
    assert app.visit(report["outputs"]["Url"]).text == f"Hello{mark}"
    assert "Visits" not in report["outputs"]
    if not changed:
        return
    prod = app.deploy("--config-env", "prod")
    assert prod["stack"] == "greeter-prod"
    assert app.visit(prod["outputs"]["Url"]).text == "Guten Tag, sehr geehrte Damen und Herren?"
    assert prod["outputs"]["Visits"] == "greeter-prod-visits"
    app.command("stack", "rm", "greeter-prod", "--yes")


def prices(app: Application, report: dict[str, Any], changed: bool) -> None:
    version = 2 if changed else 1
    cost = "107" if changed else "119"
    answer = app.command("invoke", "prices-price:live", "--event", '{"cents": 10000}')
    assert json.loads(answer) == f"{cost}.00 EUR"
    app.send("prices-asked", {"cents": 20000 + version})
    app.says("prices-price", f"version {version} asks {2 * int(cost)}.0{version}")
    assert report["outputs"]["Layer"].endswith(":layer:prices-money:1")


def plain(app: Application, report: dict[str, Any], changed: bool) -> None:
    verb = "repeated" if changed else "echoed"
    assert app.visit(report["outputs"]["Url"]).text == verb
    app.send("plain-inbox", f"from the queue {changed}")
    app.command("topic", "publish", "plain-news", f"from the topic {changed}")
    app.says("plain-echo", f"{verb} from the queue {changed}")
    app.says("plain-echo", f"{verb} from the topic {changed}")


def canary(app: Application, report: dict[str, Any], changed: bool) -> None:
    def said(times: int) -> set[str]:
        words = ("invoke", "canary-greet:live", "--event", "{}")
        return {json.loads(app.command(*words)) for _ in range(times)}

    assert report["outputs"]["First"] == "1"
    # a change alone is nothing to whoever asks the alias
    assert said(2) == {"hello from 1"}
    if not changed:
        return
    shared = app.deploy("--parameter", "Share=0.5")
    (function,) = shared["functions"]
    changes = [(change["key"], change["old"], change["new"]) for change in function["changes"]]
    assert changes == [
        ("Version.Second", None, "a new version"), ("Alias.live", "version 1", "version 1, and Second (new) with 0.5"),
    ]  # fmt: skip
    assert not app.deploy("--parameter", "Share=0.5")["changed"]
    both = {"hello from 1", "goodbye from 2"}
    eventually(lambda: said(4) == both)
    app.deploy("--parameter", "Share=1")
    eventually(lambda: said(4) == {"goodbye from 2"})
    back = app.deploy()
    assert ("Version.2", "there", None) in [
        (one["key"], one["old"], one["new"]) for one in back["functions"][0]["changes"]
    ]
    eventually(lambda: said(4) == {"hello from 1"})
    versions = app.installation.http.get("/2015-03-31/functions/canary-greet/versions").json()["Versions"]
    assert [version["Version"] for version in versions] == ["$LATEST", "1"]


TEMPLATES: dict[str, tuple[Exercise, str, str]] = {
    "hello-world": (hello_world, 'GREETING = "hello"', 'GREETING = "goodbye"'),
    "uploads": (uploads, 'UNIT = "words"', 'UNIT = "of them"'),
    "orders-api": (orders_api, "Thank you", "Danke"),
    "reminder": (reminder, 'SIGN = "reminder"', 'SIGN = "memo"'),
    "mailer": (mailer, "shop@", "us@"),
    "newsletter": (newsletter, 'READER = "read"', 'READER = "learned"'),
    "clicks": (clicks, 'NOUN = "clicks"', 'NOUN = "hits"'),
    "audit-trail": (audit_trail, 'WORD = "changed"', 'WORD = "noted"'),
    "print-jobs": (print_jobs, 'PRINTER = "printed"', 'PRINTER = "on paper"'),
    "greeter": (greeter, 'MARK = "!"', 'MARK = "?"'),
    "prices": (prices, "TAX = 19", "TAX = 7"),
    "canary": (canary, 'WORD = "hello"', 'WORD = "goodbye"'),
    "plain": (plain, 'VERB = "echoed"', 'VERB = "repeated"'),
}
"""What exercises each, and a change of it."""


@pytest.mark.parametrize("name", SOME if WHICH == "some" else TEMPLATES)
def test_a_template_is_deployed_exercised_changed_and_removed(
    installation: Installation, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    exercise, old, new = TEMPLATES[name]
    app = Application(installation, tmp_path / name)
    shutil.copytree(EXAMPLES / name, app.folder)
    made = app.deploy()
    assert {one["action"] for one in made["functions"]} == {"created"}
    exercise(app, made, False)
    again = app.deploy()
    assert not again["changed"]
    assert again["outputs"] == made["outputs"]
    app.change(old, new)
    preview = app.deploy("--dry-run")
    assert {one["action"] for one in preview["functions"]} == {"updated"}
    exercise(app, app.deploy(), True)
    app.command("stack", "rm", name, "--yes")
    # a mapping goes when its poller has let go of it
    with suppress(NotInTime):
        eventually(lambda: not everything(app))
    assert everything(app) == {}


def everything(app: Application) -> dict[str, list[str]]:
    """The names of all that there is, by kind: an installation has nothing before and after each template."""
    admin, http = "/fnrunner/v1", app.installation.http
    functions = http.get("/2015-03-31/functions/").json()["Functions"]
    layers = http.get("/2018-10-31/layers").json()["Layers"]
    found = {"functions": [one["FunctionName"] for one in functions], "layers": [one["LayerName"] for one in layers]}
    for path, key, name in (
        ("queues", "queues", "name"), ("streams", "streams", "name"), ("topics", "topics", "name"),
        ("buckets", "buckets", "name"), ("schedules", "schedules", "name"), ("http-apis", "http_apis", "name"),
        ("urls", "urls", "function"), ("mappings", "mappings", "function"), ("stacks", "stacks", "name"),
    ):  # fmt: skip
        found[path] = [one.get(name, "") for one in http.get(f"{admin}/{path}").json()[key]]
    return {kind: names for kind, names in found.items() if names}


def test_every_example_is_exercised() -> None:
    assert sorted(TEMPLATES) == sorted(one.name for one in EXAMPLES.iterdir() if one.is_dir())
