"""Tools in a deployment: both ways of it mount the same files, read only, and the server takes them."""

import os
import re
from pathlib import Path
from typing import Final

from tertulia.llms.prices import Prices
from tertulia.settings import OPENAI_MODEL, PREFIX, misspelt
from tertulia.tools.mcp_file import read_mcp_file
from tests.cli.serving import served
from tests.demanded import demanded
from tests.deploy.reading import (
    COMPOSE,
    DEPLOY,
    KUBERNETES,
    ROOT,
    TOOLS,
    laid_over,
    objects,
    read_yaml,
    variables,
)
from tests.server.doing import an_agent

kubernetes_validate = demanded("kubernetes_validate")

MOUNTED: Final = "/tools"
OVER: Final = read_yaml(DEPLOY / "compose.tools.yaml")["services"]["server"]
PATCH: Final = read_yaml(TOOLS / "server.yaml")
[CONTAINER] = PATCH["spec"]["template"]["spec"]["containers"]
GIVEN: Final = {each["name"]: each["value"] for each in CONTAINER["env"]}
[DEPLOYMENT] = objects("server.yaml")
DEFAULT: Final = re.compile(r"\$\{(\w+)-([^}]*)\}")


def by_default(name: str, value: str) -> str:
    """Return what compose gives where nobody has chosen anything, under the variable's own name."""
    found = DEFAULT.fullmatch(value)
    assert found is None or found[1] == name
    return value if found is None else found[2]


def test_both_deployments_give_the_server_the_same_files() -> None:
    composed = {name: by_default(name, value) for name, value in OVER["environment"].items()}
    inside = {path for path in GIVEN.values() if path.startswith(f"{MOUNTED}/")}

    assert composed == GIVEN
    assert misspelt(GIVEN) == {}
    assert GIVEN["PYTHONPATH"] == MOUNTED
    assert inside == {f"{MOUNTED}/mcp.json", f"{MOUNTED}/prices.json"}
    assert all((TOOLS / Path(path).name).is_file() for path in inside)
    assert (TOOLS / f"{GIVEN['TERTULIA_TOOLS']}.py").is_file()


def test_compose_mounts_them_read_only_over_the_service_that_there_is() -> None:
    service = read_yaml(COMPOSE)["services"]["server"]

    assert OVER["volumes"] == [f"./{TOOLS.name}:{MOUNTED}:ro"]
    assert TOOLS.parent == COMPOSE.parent
    assert not set(OVER["environment"]) & set(service["environment"])
    assert set(OVER) == {"environment", "volumes"}


def test_kubernetes_mounts_the_files_of_a_config_map() -> None:
    told = read_yaml(TOOLS / "kustomization.yaml")
    [made] = told["configMapGenerator"]
    [volume] = PATCH["spec"]["template"]["spec"]["volumes"]

    assert CONTAINER["volumeMounts"] == [{"name": volume["name"], "mountPath": MOUNTED, "readOnly": True}]
    assert volume["configMap"] == {"name": made["name"]}
    assert {f"{MOUNTED}/{file}" for file in made["files"]} >= {GIVEN["TERTULIA_MCP_FILE"]}
    assert sorted([*made["files"], "kustomization.yaml", "server.yaml"]) == sorted(
        path.name for path in TOOLS.iterdir() if path.is_file()
    )
    assert [(TOOLS / each).resolve() for each in told["resources"]] == [KUBERNETES]
    assert told["namespace"] == read_yaml(KUBERNETES / "kustomization.yaml")["namespace"]
    assert [each["path"] for each in told["patches"]] == ["server.yaml"]


def test_the_deployment_with_tools_has_the_form_that_kubernetes_wants() -> None:
    merged = laid_over(DEPLOYMENT, PATCH)
    pod = merged["spec"]["template"]["spec"]

    assert kubernetes_validate.validate(merged, "1.30", strict=True) == "1.30"
    assert [each["name"] for each in pod["containers"]] == [CONTAINER["name"]]
    assert pod["containers"][0]["image"] == "tertulia"
    assert {each["name"] for each in pod["volumes"]} == {"database", "tmp", "data", "tools"}


def test_the_examples_are_what_the_settings_take_and_hold_no_key() -> None:
    text = (TOOLS / "mcp.json").read_text(encoding="utf-8")

    assert read_mcp_file(TOOLS / "mcp.json") == []  # An example, switched off.
    assert re.findall(r"Bearer ([^\"]*)", text) == ["${SHOP_KEY}"]
    assert Prices.of_file(TOOLS / "prices.json") is not None


async def test_a_server_that_is_started_so_has_the_tools(tmp_path: Path) -> None:
    here = {name: value.replace(MOUNTED, str(TOOLS)) for name, value in GIVEN.items()}
    here["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), here["PYTHONPATH"]])
    here["PYTHONDONTWRITEBYTECODE"] = "1"

    async with served(tmp_path, TERTULIA_MODEL="scripted:echo", **here) as (_, client):
        agent = await an_agent(client, tools=["time_now"])
        unknown = await client.post("/agents/create-agent", json={"tools": ["another"]})

    assert agent["tools"] == ["time_now"]
    assert unknown.status_code == 422


def test_no_deployment_pins_another_model_than_the_default() -> None:
    name = f"{PREFIX}MODEL"
    composed = read_yaml(COMPOSE)["services"]["server"]["environment"][name]

    assert variables(KUBERNETES / "settings.env").get(name, OPENAI_MODEL) == OPENAI_MODEL
    assert composed == f"${{{name}:-}}"
