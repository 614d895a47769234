from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnrunner.settings import Settings, SettingsError


def test_nothing_set_gives_an_embedded_installation_on_loopback() -> None:
    settings = Settings.read({})
    assert settings.broker_url == "embedded:"
    assert (settings.host, settings.port) == ("127.0.0.1", 9000)
    assert settings.retry_delays == (timedelta(minutes=1), timedelta(minutes=2))
    assert settings.store.startswith("sqlite:///")
    assert settings.artifacts == settings.data_dir / "artifacts"


def test_every_mistake_is_reported_at_once_with_what_it_takes() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.read(
            {
                "FNRUNNER_PORT": "seventy",
                "FNRUNNER_BROKER_URL": "redis://secret@host",
                "FNRUNNER_RETRY_DELAYS_S": "1,x",
                "FNRUNNER_COLOUR": "blue",
                "FNRUNNER_AUTH": "maybe",
            }
        )
    text = str(caught.value)
    assert len(caught.value.problems) == 5
    for words in (
        "FNRUNNER_PORT: 'seventy'",
        "a port",
        "FNRUNNER_COLOUR: no such setting",
        "FNRUNNER_AUTH: 'maybe' is not off, iam or open",
    ):
        assert words in text
    assert "secret" not in text


def test_nothing_stands_in_for_a_missing_interpreter_unless_it_is_allowed() -> None:
    assert not Settings.read({}).stand_in
    assert Settings.read({"FNRUNNER_STAND_IN": "on"}).stand_in
    with pytest.raises(SettingsError, match="FNRUNNER_STAND_IN: 'yes' is not on or off"):
        Settings.read({"FNRUNNER_STAND_IN": "yes"})


def test_secrets_are_not_in_the_repr() -> None:
    settings = Settings.read(
        {"FNRUNNER_BROKER_URL": "amqp://u:hunter2@h/", "FNRUNNER_STORE_URL": "postgresql://u:hunter2@h/d"}
    )
    assert "hunter2" not in repr(settings)


def test_an_address_that_others_reach_needs_a_word_that_the_network_is_trusted() -> None:
    with pytest.raises(SettingsError, match="FNRUNNER_TRUST_NETWORK=1"):
        Settings.read({"FNRUNNER_HOST": "0.0.0.0"})
    assert Settings.read({"FNRUNNER_HOST": "0.0.0.0", "FNRUNNER_TRUST_NETWORK": "1"}).trust_network
    assert Settings.read({"FNRUNNER_HOST": "::1"}).host == "::1"


def test_buckets_are_names_with_directories() -> None:
    settings = Settings.read({"FNRUNNER_BUCKETS": "photos=/srv/photos,thumbs=rel/dir"})
    assert settings.buckets == {"photos": "/srv/photos", "thumbs": str(Path("rel/dir").absolute())}
    for wrong in ("photos", "Photos=/x", "photos=", "p=/x"):
        with pytest.raises(SettingsError, match="FNRUNNER_BUCKETS"):
            Settings.read({"FNRUNNER_BUCKETS": wrong})


def test_endpoints_and_brokers_are_names_with_urls() -> None:
    settings = Settings.read(
        {
            "FNRUNNER_AWS_ENDPOINTS": "sqs=http://localhost:4566, dynamodb=https://db.test/",
            "FNRUNNER_BROKERS": "orders=amqp://u:hunter2@one,two:5673/shop,legacy=amqps://three",
            "FNRUNNER_BROKER_URL": "amqp://u:p@own/site",
        }
    )
    assert settings.aws_endpoints == {"sqs": "http://localhost:4566", "dynamodb": "https://db.test"}
    assert settings.brokers == {"orders": "amqp://u:hunter2@one,two:5673/shop", "legacy": "amqps://three"}
    assert settings.virtual_hosts == {"fnrunner": "site", "orders": "shop", "legacy": "/"}
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("FNRUNNER_AWS_ENDPOINTS", "s3=http://h", "s3 is none of sqs, kinesis, dynamodb"),
        ("FNRUNNER_AWS_ENDPOINTS", "sqs=localhost:4566", "entry 1 is not name=URL"),
        ("FNRUNNER_AWS_ENDPOINTS", "sqs=http://u:hunter2@h", "without user, password and query"),
        ("FNRUNNER_AWS_ENDPOINTS", "sqs=http://h,sqs=http://i", "a name is there twice"),
        ("FNRUNNER_BROKERS", "orders=http://hunter2", "entry 1 is not name=URL"),
        ("FNRUNNER_BROKERS", "a=amqp://u:hunter2@h,b=http://i", "the URL of a has something else than hosts"),
        ("FNRUNNER_BROKERS", "fnrunner=amqp://u:hunter2@h", "the name of the own broker"),
        ("FNRUNNER_BROKERS", "a b=amqp://u:hunter2@h", "is no broker name"),
        ("FNRUNNER_BROKERS", "a=amqp://,b=amqp://h", "entry 1 is not name=URL"),
    ],
)
def test_a_wrong_endpoint_or_broker_is_named_without_its_password(name: str, wrong: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.read({name: wrong})
    (problem,) = caught.value.problems
    assert problem.startswith(name)
    assert said in problem
    assert "hunter2" not in problem


def test_artifacts_in_s3_are_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="S3 are not supported yet"):
        Settings.read({"FNRUNNER_ARTIFACTS_URL": "s3://bucket"})


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "FNRUNNER_PORT",
                "FNRUNNER_RETRY_DELAYS_S",
                "FNRUNNER_BUCKETS",
                "FNRUNNER_BROKERS",
                "FNRUNNER_AWS_ENDPOINTS",
            ]
        ),
        st.text(max_size=20),
    )
)
def test_any_text_is_read_or_refused_with_a_reason(environ: dict[str, str]) -> None:
    try:
        Settings.read(environ)
    except SettingsError as error:
        assert all(problem.startswith("FNRUNNER_") for problem in error.problems)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("FNRUNNER_ACCOUNT_CONCURRENCY", ("100", "5000"), ("99", "0", "x")),
        ("FNRUNNER_SCALING_RATE", ("1",), ("0", "-1")),
    ],
)
def test_limits_of_the_account_have_a_floor(name: str, good: tuple[str, ...], bad: tuple[str, ...]) -> None:
    field = name.removeprefix("FNRUNNER_").lower()
    assert getattr(Settings.read({}), field) == 1000
    for text in good:
        assert getattr(Settings.read({name: text}), field) == int(text)
    for text in bad:
        with pytest.raises(SettingsError, match=name):
            Settings.read({name: text})
