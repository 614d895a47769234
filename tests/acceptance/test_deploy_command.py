"""`fnrunner deploy` and the commands after it, as processes of their own against a running installation."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

from tests.installation import PROGRAM, RUNTIME, Installation, eventually

WHOLE = ("env", *PROGRAM)  # as people start it: others are forked, see tests.program
SOURCE = """\
def handler(event, context):
    print("saw", event)
    if event.get("fail"):
        raise ValueError("as asked")
    return {"version": 1}
"""


def write(dev: Installation, name: str, source: str = SOURCE) -> None:
    folder = dev.directory / name
    folder.mkdir(exist_ok=True)
    (folder / "app.py").write_text(source)


def test_a_change_of_the_source_runs_after_the_next_deploy(dev: Installation, name: str) -> None:
    write(dev, name)
    assert dev.command("deploy", name, "--runtime", RUNTIME).stdout == f"function {name}: created\n"
    assert json.loads(dev.command("invoke", name).stdout) == {"version": 1}
    write(dev, name, SOURCE.replace("1}", "2}"))
    assert dev.command("deploy", name).stdout.splitlines()[0] == f"function {name}: updated"
    assert json.loads(dev.command("invoke", name).stdout) == {"version": 2}
    assert dev.command("deploy", name).stdout == f"function {name}: unchanged\n"


def test_exit_statuses_tell_scripts_what_happened(dev: Installation, name: str) -> None:
    write(dev, name)
    dev.command("deploy", name, "--runtime", RUNTIME)
    failed = dev.command("invoke", name, "--event", '{"fail": true}', "--tail", check=False)
    assert failed.returncode == 1
    assert json.loads(failed.stdout)["errorType"] == "ValueError"
    assert "saw {'fail': True}" in failed.stderr
    assert dev.command("invoke", "nobody", check=False).returncode == 4
    assert dev.command("invoke", name, "--event", "{", check=False).returncode == 2
    assert dev.command("invoke", name, "--endpoint-url", "http://127.0.0.1:1", check=False).returncode == 3
    assert "\x1b" not in failed.stdout + failed.stderr


def test_a_failed_event_is_explained_redriven_and_accounted_for(dev: Installation, name: str) -> None:
    write(dev, name)
    dev.command("deploy", name, "--runtime", RUNTIME)
    event_id = dev.command("invoke", name, "--async", "--event", '{"fail": true}').stdout.strip()
    dev.settled(name, 1)
    story = dev.command("why", event_id).stdout
    assert story.count("    | saw {'fail': True}") == 3
    assert "then     retry in 300 ms" in story
    dev.command("dlq", "edit", name, event_id, "--body", "{}")
    assert dev.command("dlq", "redrive", name, event_id).stdout == "1 redriven\n"
    eventually(lambda: "succeeded after 4 attempts" in dev.command("why", event_id).stdout)
    assert dev.command("audit", name).returncode == 0


def test_following_a_log_survives_a_restart_of_the_server(dev: Installation, name: str) -> None:
    write(dev, name)
    dev.command("deploy", name, "--runtime", RUNTIME)
    dev.command("invoke", name, "--event", '{"n": 1}')
    log = dev.directory / "follow.log"
    with log.open("w") as output:
        follow = subprocess.Popen(
            [sys.executable, "-m", "fnrunner", "logs", name, "--follow"],
            env=dev.environ,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        eventually(lambda: "saw {'n': 1}" in log.read_text())
        dev.stop("dev")
        eventually(lambda: "The server is away" in log.read_text())
        dev.start("dev", program=WHOLE)
        dev.command("invoke", name, "--event", '{"n": 2}')
        eventually(lambda: "saw {'n': 2}" in log.read_text())
        assert follow.poll() is None
        assert log.read_text().count("saw {'n': 1}") == 1
    finally:
        follow.terminate()
        follow.wait(timeout=30)


def test_a_second_server_on_the_same_port_or_data_says_what_to_do(dev: Installation) -> None:
    locked = dev.command("dev", "--port", "0", check=False)
    assert locked.returncode == 1
    assert locked.stderr.splitlines()[-1] == "Stop it, or choose another --data-dir."
    taken = dev.command("dev", "--data-dir", "other", check=False)
    assert taken.returncode == 1
    assert "choose another with --port" in taken.stderr.splitlines()[-1]


def test_the_command_line_starts_at_once(dev: Installation, name: str) -> None:
    write(dev, name)
    dev.command("deploy", name, "--runtime", RUNTIME)
    dev.command("invoke", name)

    # The promise is 250 ms on a machine with nothing else to do. Beside others only the processor time stays about the same:
    # the server imports ten times as much.
    assert least_processor_time(dev, "--help") < 1
    assert least_processor_time(dev, "invoke", name) < 1


def least_processor_time(dev: Installation, *words: str) -> float:
    """Seconds that the command computes, the best of some."""
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        dev.command(*words, program=WHOLE)
        times.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before)
    return min(times)
