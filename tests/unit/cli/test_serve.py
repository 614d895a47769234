"""A part of an installation does not start where the others could not reach it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from fnrunner import app
from fnrunner.cli.error import UsageFault
from fnrunner.cli.main import Debugging, application
from fnrunner.settings import Settings


@pytest.mark.parametrize("role", ["api", "worker", "sources"])
def test_a_part_needs_a_broker_that_is_shared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, role: str) -> None:
    monkeypatch.delenv("FNRUNNER_BROKER_URL", raising=False)
    started: list[Settings] = []
    monkeypatch.setattr(app, f"run_{role}", started.append)
    refused = CliRunner().invoke(application, [role, "--data-dir", str(tmp_path / "data")], obj=Debugging())
    assert isinstance(refused.exception, UsageFault)
    assert "FNRUNNER_BROKER_URL" in refused.exception.remedy
    assert "`fnrunner dev`" in refused.exception.remedy
    CliRunner().invoke(
        application, [role, "--data-dir", str(tmp_path / "data"), "--broker-url", "amqp://h"], obj=Debugging()
    )
    assert [settings.broker_url for settings in started] == ["amqp://h"]
