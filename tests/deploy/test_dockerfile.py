"""The Dockerfile: small, without secrets, and run by nobody in particular."""

import re
from fnmatch import fnmatch

import pytest

from tertulia.settings import PREFIX, Settings, misspelt
from tests.deploy.reading import ROOT, environment, only, stages

BUILD, RUN = stages()
SECRET = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|CREDENTIAL|DATABASE_URL|HINTS_URL")


def test_what_builds_is_left_behind() -> None:
    runs = [instruction.rest for instruction in RUN if instruction.name == "RUN"]

    assert not any("pip" in rest for rest in runs)
    assert [each.rest for each in RUN if each.name == "COPY"] == ["--from=build /app /app"]
    assert {only(stage, "FROM").arguments[0] for stage in (BUILD, RUN)} == {"python:${PYTHON}"}
    assert "slim" in only(BUILD, "ARG").variables["PYTHON"]


def test_an_edit_of_the_code_installs_nothing_anew() -> None:
    steps = [i.rest for i in BUILD if i.name in {"COPY", "RUN"}]

    installed = next(n for n, step in enumerate(steps) if "-r requirements.lock" in step)
    copied = next(n for n, step in enumerate(steps) if step.startswith("src"))
    assert installed < copied


def test_everything_from_elsewhere_is_pinned_by_its_hash() -> None:
    commands = [command for i in BUILD if i.name == "RUN" for command in i.rest.split("&&")]

    installs = [command for command in commands if " install " in command]
    assert len(installs) == 3
    assert all("--no-deps" in command for command in installs)
    assert all("--require-hashes" in command or "dist/" in command for command in installs)


def test_no_secret_goes_in() -> None:
    setting = [i for i in [*BUILD, *RUN] if i.name in {"ARG", "ENV"}]
    named = [name for instruction in setting for name in instruction.variables]

    assert named
    assert [name for name in named if SECRET.search(name)] == []


def test_the_image_leaves_the_question_of_authentication_to_whoever_starts_it() -> None:
    chosen = {name: value for name, value in environment(RUN).items() if name.startswith(PREFIX)}

    assert misspelt(chosen) == {}
    assert "TERTULIA_AUTH" not in chosen
    with pytest.raises(ValueError, match="no authentication yet"):
        Settings(host=chosen["TERTULIA_HOST"])


def test_it_runs_as_a_user_without_privileges_that_has_a_number() -> None:
    names = [instruction.name for instruction in RUN]
    user = only(RUN, "USER").rest

    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert not {"RUN", "COPY", "ADD"} & set(names[names.index("USER") :])


def test_no_shell_stands_between_the_container_and_the_program() -> None:
    asked = {name: only(RUN, name) for name in ("ENTRYPOINT", "CMD", "HEALTHCHECK")}

    assert all(instruction.is_exec for instruction in asked.values())
    assert [*asked["ENTRYPOINT"].arguments, *asked["CMD"].arguments] == ["tertulia", "serve"]
    assert only(RUN, "STOPSIGNAL").rest == "SIGTERM"


def test_what_it_keeps_lies_in_a_volume_of_its_user() -> None:
    folder = only(RUN, "VOLUME").rest
    made = only(RUN, "RUN").rest

    assert environment(RUN)["TERTULIA_DATA_DIR"] == folder
    assert f"--owner {only(RUN, 'USER').rest.partition(':')[0]} " in made
    assert made.endswith(folder)


def test_the_port_is_the_one_that_the_server_listens_on() -> None:
    assert only(RUN, "EXPOSE").arguments == [str(Settings.model_fields["port"].default)]


def test_it_says_what_it_is() -> None:
    labels = only(RUN, "LABEL").variables

    assert labels["org.opencontainers.image.title"] == "Tertulia"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_the_context_holds_what_is_copied_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    copied = [source for i in BUILD if i.name == "COPY" for source in i.arguments[:-1]]

    assert rules[0] == "*"
    assert sorted(rule.removeprefix("!") for rule in rules if rule.startswith("!")) == sorted(copied)
    assert any(fnmatch("src/.env", rule) for rule in rules[1:] if not rule.startswith("!"))
