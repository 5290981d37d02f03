"""The service keeps what its own description says, whatever it is sent."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    negative_data_rejection,
    not_a_server_error,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
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
OF_MODE: Final = {
    GenerationMode.POSITIVE: [*CHECKS],
    GenerationMode.NEGATIVE: [*CHECKS, negative_data_rejection],
}
SETTINGS: Final = {"TERTULIA_MODEL": "scripted:text=Soup.", "TERTULIA_DATABASE_URL": "memory://"}


@dataclass(frozen=True)
class Service:
    """A service that listens, and the names of what is in it."""

    schema: BaseSchema
    known: dict[str, str]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Serve in a process of its own, with a conversation in which something was said."""
    usual = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(tertulia.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-m", "tertulia", "serve", "--port", "0"],
        cwd=tmp_path_factory.mktemp("served"),
        env=usual | SETTINGS,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            assert process.stderr is not None
            address = next(
                told["address"] for line in process.stderr if (told := json.loads(line))["event"] == "serving"
            )
            schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
            yield Service(schema, _filled(address))
        finally:
            process.kill()


def _filled(address: str) -> dict[str, str]:
    with httpx2.Client(base_url=address) as client:
        agent = client.post("/agents/create-agent", json={"context": "You cook.", "first_message": "Hi!", "response_shape": "", "instructions": ""}).json()["id"]
        conversation = client.post("/agents/create-conversation", json={"agent_id": agent}).json()["id"]
        run = client.post("/v1/runs", json={"conversation_id": conversation, "message": "Hi."}).json()
    return {"agent_id": agent, "conversation_id": conversation, "run_id": run["id"]}
