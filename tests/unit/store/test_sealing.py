"""Functions' environments are sealed on their way into the store, and nothing is lost of what cannot be opened."""

from __future__ import annotations

import json

import pytest

from fnrunner.store.sealing import CannotOpen, opened, opened_record, sealed, sealed_record


class Sealer:
    """Turns text around; ``works`` off: it cannot open anything."""

    def __init__(self) -> None:
        self.works = True
        self.keys: list[str] = []

    def seal_text(self, text: str, context: str, key: str = "") -> str:
        self.keys.append(key)
        return f"sealed:{context}:{text[::-1]}"

    def open_text(self, text: str, context: str) -> str:
        if not self.works:
            raise CannotOpen("The key is away. Bring it back.")
        assert text.startswith(f"sealed:{context}:")
        return text.removeprefix(f"sealed:{context}:")[::-1]

    def read_keys(self, connection: object) -> None:
        """It has one key for ever."""


PLAIN = json.dumps({"name": "f", "environment": {"A": "hunter2"}, "kms_key_arn": "key/1"})


def test_an_environment_goes_in_sealed_and_comes_out_plain() -> None:
    sealer = Sealer()
    stored = sealed(PLAIN, sealer)
    assert "hunter2" not in stored
    assert sealer.keys == ["key/1"]
    assert json.loads(opened(stored, sealer)) == json.loads(PLAIN)


def test_without_a_sealer_a_document_goes_in_as_it_is() -> None:
    assert sealed(PLAIN, None) == PLAIN


@pytest.mark.parametrize("environment", [{}, None])
def test_no_environment_is_nothing_to_seal(environment: object) -> None:
    stored = sealed(json.dumps({"name": "f", "environment": environment}), Sealer())
    assert json.loads(stored)["environment"] == environment


@pytest.mark.parametrize("with_sealer", [True, False])
def test_what_cannot_be_opened_says_why_and_goes_back_as_it_was(with_sealer: bool) -> None:
    sealer = Sealer()
    stored = sealed(PLAIN, sealer)
    sealer.works = False
    document = json.loads(opened(stored, sealer if with_sealer else None))
    assert document["environment"] == {}
    assert document["environment_error"].startswith("KMSInvalidStateException: ")
    again = sealed(json.dumps(document | {"description": "changed"}), sealer if with_sealer else None)
    sealer.works = True
    found = json.loads(opened(again, sealer))
    assert (found["environment"], found["description"]) == ({"A": "hunter2"}, "changed")
    assert "environment_error" not in found


RECORD = json.dumps({
    "current": {"text": "Parameters: {}", "parameters": {"Password": "hunter2"}, "code": {"F": {"digest": "ab"}}},
    "target": {"parameters": {}},
    "previous": None,
    "adopted": {"functions": [{"configuration": {"Environment": {"Variables": {"A": "hunter2"}}}}]},
})  # fmt: skip


def test_the_parameters_of_a_stack_and_the_variables_in_it_go_in_sealed_and_come_out_plain() -> None:
    sealer = Sealer()
    stored = sealed_record(RECORD, sealer)
    assert "hunter2"[::-1] in stored
    assert "hunter2" not in stored
    assert json.loads(stored)["current"]["code"] == {"F": {"digest": "ab"}}
    assert json.loads(stored)["target"]["parameters"] == {}
    assert json.loads(opened_record(stored, sealer)) == json.loads(RECORD)
    assert sealed_record(RECORD, None) == opened_record(RECORD, sealer) == RECORD


@pytest.mark.parametrize("with_sealer", [True, False])
def test_parameters_that_cannot_be_opened_go_back_as_they_were(with_sealer: bool) -> None:
    sealer = Sealer()
    stored = sealed_record(RECORD, sealer)
    sealer.works = False
    shown = opened_record(stored, sealer if with_sealer else None)
    assert json.loads(shown)["current"]["parameters"].startswith("sealed:stack:")
    again = sealed_record(shown, sealer if with_sealer else None)
    sealer.works = True
    assert json.loads(opened_record(again, sealer)) == json.loads(RECORD)
