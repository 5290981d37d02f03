"""The compose file: it starts in order, keeps its secrets in files, and lets nobody in from outside."""

import re
from typing import Any

import pytest

from tertulia.settings import PREFIX, Settings, misspelt
from tests.deploy.reading import COMPOSE, ROOT, TEMPORARY, compose, environment, only, stages

RUN = stages()[-1]
TOLD = compose()
SERVICES: dict[str, dict[str, Any]] = TOLD["services"]
OURS = ["migration", "server"]

each_service = pytest.mark.parametrize("name", SERVICES)


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def mounted(service: dict[str, Any]) -> set[str]:
    """Return where a container finds its secrets."""
    named = (each for each in service.get("secrets", []))
    return {f"/run/secrets/{each}" if isinstance(each, str) else each["target"] for each in named}


@each_service
def test_a_container_can_do_no_more_than_it_has_to(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert TEMPORARY in service["tmpfs"]
    assert "privileged" not in service
    assert name in OURS or service["user"] not in {"root", "0"}


@each_service
def test_no_secret_stands_in_the_file(name: str) -> None:
    given = SERVICES[name].get("environment", {})
    secret = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|DATABASE_URL")

    in_files = {value for variable, value in given.items() if secret.search(variable)}
    assert all(variable.endswith("_FILE") for variable in given if secret.search(variable))
    assert in_files <= mounted(SERVICES[name])
    assert not re.search(r"://[^/\s]*:[^/\s]*@", COMPOSE.read_text(encoding="utf-8"))


def test_every_secret_is_a_file_that_the_script_makes() -> None:
    script = (COMPOSE.parent / "secrets.sh").read_text(encoding="utf-8")
    files = {secret["file"] for secret in TOLD["secrets"].values()}

    made = re.findall(r"^keep (\S+)", script, re.MULTILINE)

    assert files == {f"./secrets/{name}" for name in made}


@each_service
def test_what_a_service_uses_is_declared(name: str) -> None:
    service = SERVICES[name]
    named = [each if isinstance(each, str) else each["source"] for each in service.get("secrets", [])]
    sources = [volume.partition(":")[0] for volume in service.get("volumes", [])]

    assert set(named) <= set(TOLD["secrets"])
    assert set(service["networks"]) <= set(TOLD["networks"])
    assert set(service.get("depends_on", {})) <= set(SERVICES)
    for source in sources:
        assert (COMPOSE.parent / source).is_file() if source.startswith(".") else source in TOLD["volumes"]


@pytest.mark.parametrize("name", OURS)
def test_settings_are_settings_and_the_image_is_built_here(name: str) -> None:
    service = SERVICES[name]

    assert misspelt(service["environment"]) == {}
    assert (COMPOSE.parent / service["build"]["context"] / "Dockerfile").resolve() == ROOT / "Dockerfile"
    assert len({SERVICES[each]["image"] for each in OURS}) == 1


@pytest.mark.parametrize("name", OURS)
def test_the_settings_together_with_those_of_the_image_are_accepted(name: str) -> None:
    given = environment(RUN) | SERVICES[name]["environment"]
    ours = {key.removeprefix(PREFIX).lower(): value for key, value in given.items() if key.startswith(PREFIX)}

    Settings.model_validate({key: value for key, value in ours.items() if "$" not in str(value)})


def test_only_this_machine_reaches_the_server_and_nobody_the_rest() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    port = Settings.model_fields["port"].default

    assert ports == {"server": [f"127.0.0.1:{port}:{port}"]}
    assert SERVICES["server"]["environment"]["TERTULIA_AUTH"] == "none-at-my-own-risk"
    assert "TERTULIA_AUTH" not in SERVICES["migration"]["environment"]
    assert TOLD["networks"]["inside"] == {"internal": True}
    assert {n for n, service in SERVICES.items() if service["networks"] != ["inside"]} == {"server"}


def test_it_starts_in_order() -> None:
    server, migration = SERVICES["server"], SERVICES["migration"]

    assert migration["depends_on"]["database"]["condition"] == "service_healthy"
    assert server["depends_on"]["migration"]["condition"] == "service_completed_successfully"
    assert server["depends_on"]["database"]["condition"] == "service_healthy"
    assert [*only(RUN, "ENTRYPOINT").arguments, *migration["command"]] == ["tertulia", "db", "upgrade"]
    assert migration["healthcheck"] == {"disable": True}
    assert all("test" in SERVICES[name]["healthcheck"] for name in ("database", "hints"))
    assert "healthcheck" not in server  # The image's own.


def test_migrations_are_the_owners_and_the_server_is_not() -> None:
    urls = {name: SERVICES[name]["environment"]["TERTULIA_DATABASE_URL_FILE"] for name in OURS}

    assert urls == {"migration": "/run/secrets/owner_url", "server": "/run/secrets/service_url"}
    assert "/run/secrets/owner_url" not in mounted(SERVICES["server"])


def test_keys_of_providers_are_read_from_a_file_where_the_server_starts() -> None:
    assert f"{only(RUN, 'WORKDIR').rest}/.env" in mounted(SERVICES["server"])


def test_answers_under_way_are_waited_for() -> None:
    server = SERVICES["server"]

    assert seconds(server["stop_grace_period"]) >= server["environment"]["TERTULIA_SHUTDOWN_SECONDS"] + 10


def test_what_is_kept_lies_in_volumes() -> None:
    folder = only(RUN, "VOLUME").rest

    assert SERVICES["server"]["volumes"] == [f"data:{folder}"]
    # Since version 18 of the image; what is mounted further down is not where it writes.
    assert SERVICES["database"]["image"].startswith("postgres:18")
    assert "database:/var/lib/postgresql" in SERVICES["database"]["volumes"]


def test_hints_are_there_for_those_who_ask() -> None:
    assert [name for name, service in SERVICES.items() if "profiles" in service] == ["hints"]
    assert SERVICES["server"]["environment"]["TERTULIA_HINTS_URL"] == "${TERTULIA_HINTS_URL:-}"
    assert "redis://hints:6379" in COMPOSE.read_text(encoding="utf-8")


@each_service
def test_no_image_names_a_registry(name: str) -> None:
    assert "." not in SERVICES[name]["image"].split("/")[0].partition(":")[0]
