"""The files for Kubernetes: at one with the image and the server, and nothing is cut off."""

import re

import pytest

from tertulia.app import App
from tertulia.server.factory import create_app
from tertulia.settings import PREFIX, Settings, misspelt
from tests.deploy.reading import (
    KUBERNETES,
    TEMPORARY,
    environment,
    kustomization,
    objects,
    only,
    stages,
    variables,
)

RUN = stages()[-1]
OBJECTS = objects()
SECRETS = objects("secrets.example.yaml")
KINDS = {each["kind"]: each for each in OBJECTS}
SETTINGS = variables(KUBERNETES / "settings.env")
PODS = {kind: KINDS[kind]["spec"]["template"] for kind in ("Deployment", "Job")}
CONTAINERS = {kind: pod["spec"]["containers"][0] for kind, pod in PODS.items()}
SERVER, DEPLOYMENT = CONTAINERS["Deployment"], KINDS["Deployment"]["spec"]

each_pod = pytest.mark.parametrize("kind", PODS)


def given(kind: str) -> dict[str, str]:
    """Return the variables of a container, but for those from secrets."""
    shared = SETTINGS if "envFrom" in CONTAINERS[kind] else {}
    return environment(RUN) | shared | {each["name"]: each["value"] for each in CONTAINERS[kind]["env"]}


def test_every_file_belongs_to_it_but_the_example_of_secrets() -> None:
    named = [*kustomization()["resources"], "kustomization.yaml", "settings.env", "secrets.example.yaml"]

    assert sorted(named) == sorted(path.name for path in KUBERNETES.iterdir())
    assert {each["kind"] for each in OBJECTS if "Secret" in each["kind"]} == set()


@each_pod
def test_the_probes_settings_and_images_are_those_of_the_server(kind: str) -> None:
    env = given(kind)
    ours = {key.removeprefix(PREFIX).lower(): value for key, value in env.items() if key.startswith(PREFIX)}

    assert misspelt(env) == {}
    Settings.model_validate(ours)
    assert CONTAINERS[kind]["image"] in {image["name"] for image in kustomization()["images"]}
    assert "command" not in CONTAINERS[kind]


def test_probes_ask_for_routes_that_there_are() -> None:
    probes = {name: SERVER[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    routes = create_app(App(Settings(database_url="memory://", model="scripted:echo"))).openapi()["paths"]

    assert {probe["path"] for probe in probes.values()} == {"/livez", "/readyz"}
    assert all("get" in routes[probe["path"]] for probe in probes.values())
    # Who lives is not asked for the database: when it is away, killing servers helps nobody.
    assert probes["livenessProbe"]["path"] == probes["startupProbe"]["path"] == "/livez"
    assert probes["readinessProbe"]["path"] == "/readyz"


def test_ports_lead_to_the_server() -> None:
    [port] = SERVER["ports"]
    [outer] = KINDS["Service"]["spec"]["ports"]
    [rule] = KINDS["NetworkPolicy"]["spec"]["ingress"]

    assert port["containerPort"] == Settings.model_fields["port"].default
    assert "TERTULIA_PORT" not in given("Deployment")
    assert outer["targetPort"] == rule["ports"][0]["port"] == port["name"]
    probes = [asked["httpGet"]["port"] for name, asked in SERVER.items() if name.endswith("Probe")]
    assert probes == [port["name"]] * 3


def test_whoever_selects_pods_selects_those_of_the_servers_alone() -> None:
    labels = {kind: pod["metadata"]["labels"] for kind, pod in PODS.items()}
    spread = PODS["Deployment"]["spec"]["topologySpreadConstraints"][0]["labelSelector"]
    selectors = [
        KINDS["Service"]["spec"]["selector"],
        DEPLOYMENT["selector"]["matchLabels"],
        KINDS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        KINDS["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        spread["matchLabels"],
    ]

    for selector in selectors:
        assert selector.items() <= labels["Deployment"].items()
        assert not selector.items() <= labels["Job"].items()


def test_only_pods_that_say_so_come_in() -> None:
    policy = KINDS["NetworkPolicy"]["spec"]
    [rule] = policy["ingress"]

    assert SETTINGS["TERTULIA_AUTH"] == "none-at-my-own-risk"
    assert KINDS["Service"]["spec"]["type"] == "ClusterIP"
    assert "Ingress" in policy["policyTypes"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"tertulia-client": "true"}}}]


def test_answers_under_way_are_waited_for() -> None:
    pause = SERVER["lifecycle"]["preStop"]["sleep"]["seconds"]
    needed = pause + int(SETTINGS["TERTULIA_SHUTDOWN_SECONDS"])

    assert PODS["Deployment"]["spec"]["terminationGracePeriodSeconds"] >= needed + 10


def test_somebody_answers_while_a_new_version_comes() -> None:
    assert DEPLOYMENT["replicas"] >= 2
    assert DEPLOYMENT["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert KINDS["PodDisruptionBudget"]["spec"]["maxUnavailable"] < DEPLOYMENT["replicas"]


@each_pod
def test_a_container_can_do_no_more_than_it_has_to(kind: str) -> None:
    pod, container = PODS[kind]["spec"], CONTAINERS[kind]
    user, group = map(int, only(RUN, "USER").rest.split(":"))
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["fsGroup"]) == (user, group)
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert "memory" in container["resources"]["limits"]
    assert mounts["tmp"] == TEMPORARY
    assert set(mounts) == {volume["name"] for volume in pod["volumes"]}


@each_pod
def test_kubernetes_makes_no_settings_of_its_own(kind: str) -> None:
    """For the service ``tertulia`` it would set TERTULIA_PORT to an address."""
    names = {each["metadata"]["name"] for each in OBJECTS if each["kind"] == "Service"}

    assert names == {PREFIX.rstrip("_").lower()}
    assert PODS[kind]["spec"]["enableServiceLinks"] is False


@each_pod
def test_the_url_of_the_database_is_a_file_of_a_secret(kind: str) -> None:
    examples = {each["metadata"]["name"]: set(each["stringData"]) for each in SECRETS}
    [volume] = [each for each in PODS[kind]["spec"]["volumes"] if "secret" in each]
    [mount] = [each for each in CONTAINERS[kind]["volumeMounts"] if each["name"] == volume["name"]]
    folder, _, file = given(kind)["TERTULIA_DATABASE_URL_FILE"].rpartition("/")

    assert mount["mountPath"] == folder
    assert mount["readOnly"] is True
    assert file in examples[volume["secret"]["secretName"]]
    assert volume["secret"]["secretName"] == {"Job": "tertulia-owner", "Deployment": "tertulia-service"}[kind]


def test_what_the_server_is_set_to_is_there_and_the_examples_hold_nothing_real() -> None:
    sources = SERVER["envFrom"]
    values = [value for each in SECRETS for value in each["stringData"].values()]

    made = {each["name"] for each in kustomization()["configMapGenerator"]}
    assert {each["configMapRef"]["name"] for each in sources if "configMapRef" in each} == made
    examples = {each["metadata"]["name"] for each in SECRETS}
    assert {each["secretRef"]["name"] for each in sources if "secretRef" in each} <= examples
    assert all(value == "KEY" or ":PASSWORD@HOST:" in value for value in values)
    assert {each["metadata"]["namespace"] for each in SECRETS} == {kustomization()["namespace"]}


def test_the_namespace_holds_pods_to_the_strictest_standard() -> None:
    namespace = KINDS["Namespace"]["metadata"]

    assert namespace["name"] == kustomization()["namespace"]
    assert namespace["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_migration_gives_up_some_time_and_is_not_the_server() -> None:
    job = KINDS["Job"]["spec"]

    assert CONTAINERS["Job"]["args"] == ["db", "upgrade"]
    assert job["backoffLimit"] > 0
    assert job["activeDeadlineSeconds"] > 0
    assert PODS["Job"]["spec"]["restartPolicy"] == "Never"


def test_no_setting_is_a_secret() -> None:
    assert not [name for name in SETTINGS if re.search(r"KEY|SECRET|TOKEN|PASSWORD|URL", name)]
