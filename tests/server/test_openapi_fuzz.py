"""The service keeps what its own description says, whatever it is sent."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from hypothesis.stateful import run_state_machine_as_test
from schemathesis import Case, GenerationMode, Response
from schemathesis.checks import (
    content_type_conformance,
    negative_data_rejection,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation, BaseSchema

import tertulia
from tests.conftest import Times

CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
BAD: Final = 400
BAD_GATEWAY: Final = 502
AnyCase: TypeAlias = Case[Any]
Operation: TypeAlias = APIOperation[Any, Any, Any, Any]
SETTINGS: Final = {"TERTULIA_MODEL": "scripted:text=Soup.", "TERTULIA_DATABASE_URL": "memory://"}


@dataclass(frozen=True)
class Service:
    """A service that listens, and the names of what is in it."""

    schema: BaseSchema
    known: dict[str, str]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Serve in a process of its own, with a conversation in which something was said."""
    place = tmp_path_factory.mktemp("served")
    usual = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(tertulia.__file__).parents[1])}
    # To a file: nobody reads along, and a pipe that is full would stop the service.
    with (
        (place / "log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "tertulia", "serve", "--port", "0"],
            cwd=place,
            env=usual | SETTINGS,
            stderr=log,
        ) as process,
    ):
        try:
            address = _announced(process, place / "log")
            schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
            yield Service(schema, _filled(address))
        finally:
            process.kill()


def _announced(process: subprocess.Popen[bytes], log: Path) -> str:
    while process.poll() is None:
        for line in log.read_text().splitlines():
            with suppress(ValueError):
                if (told := json.loads(line))["event"] == "serving":
                    return str(told["address"])
    raise AssertionError(log.read_text())


def _filled(address: str) -> dict[str, str]:
    """Say something, and return the ids of what there is then, by the names that requests have for them."""
    spoken = {"context": "You cook.", "first_message": "Hi!", "response_shape": "", "instructions": ""}
    with httpx2.Client(base_url=address) as client:
        agent = client.post("/agents/create-agent", json=spoken).json()["id"]
        conversation = client.post("/agents/create-conversation", json={"agent_id": agent}).json()["id"]
        said = {"conversation_id": conversation, "message": "How are you?"}
        run = client.post("/v1/runs", json=said).json()["id"]
    return {"agent_id": agent, "conversation_id": conversation, "run_id": run}


@pytest.mark.parametrize(
    "mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value
)
def test_answers_are_those_that_are_described(service: Service, mode: GenerationMode, times: Times) -> None:
    examples = settings(
        max_examples=times(20, 400),
        derandomize=bool(times(1, 0)),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    wrong: dict[tuple[str, str, int], str] = {}

    for operation in _operations(service.schema):

        @examples
        @given(case=operation.as_strategy(generation_mode=mode), is_known=st.booleans())
        def ask(case: AnyCase, is_known: bool) -> None:  # drawn by name
            is_negative = mode is GenerationMode.NEGATIVE and not (is_known and _name(case, service.known))
            response = case.call(timeout=20)
            for failure in _failures(case, response, is_negative=is_negative):
                what = (case.operation.label, type(failure).__name__, response.status_code)
                wrong.setdefault(what, f"{failure}\n{case.as_curl_command()}")

        with suppress(Unsatisfiable):  # There is nothing that could be wrong with some requests.
            ask()

    assert not wrong, "\n\n".join(f"{what}: {told}" for what, told in wrong.items())


def test_one_answer_leads_to_the_next(service: Service, times: Times) -> None:
    class Walk(service.schema.as_state_machine()):  # type: ignore[misc]  # is made at run time
        def validate_response(self, response: Response, case: AnyCase, **_: object) -> None:
            failures = _failures(case, response, is_negative=False)
            assert not failures, f"{failures}\n{case.as_curl_command()}"

    run_state_machine_as_test(
        Walk,
        settings=settings(
            max_examples=times(10, 100),
            stateful_step_count=times(10, 20),
            derandomize=bool(times(1, 0)),
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def _operations(schema: BaseSchema) -> Iterator[Operation]:
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        yield found.ok()


def _name(case: AnyCase, known: dict[str, str]) -> bool:
    """Put in the ids of what is there, where a request has ids; return whether it has."""
    places = [place for place in (case.path_parameters, case.query, case.body) if isinstance(place, dict)]
    for place in places:
        place.update({name: known[name] for name in place.keys() & known.keys()})
    return any(place.keys() & known.keys() for place in places)


def _failures(case: AnyCase, response: Response, *, is_negative: bool) -> list[Exception]:
    """Return what is wrong with a response."""
    checks = list(CHECKS)
    if response.status_code < BAD and is_negative:
        checks.append(negative_data_rejection)
    if response.status_code == BAD_GATEWAY and response.json()["code"] == "shape_mismatch":
        checks.remove(not_a_server_error)  # The model always says the same.
    if "text/event-stream" in response.headers.get("content-type", [""])[0]:
        checks.remove(response_schema_conformance)  # One event is not what the schema is about.
    try:
        case.validate_response(response, checks=checks)
    except FailureGroup as found:
        return list(found.exceptions)
    except Failure as found:
        return [found]
    return []
