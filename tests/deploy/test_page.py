"""What docs/deploying.md says is so: its files, settings and names are those of the deployment."""

import re
from pathlib import Path

from tertulia.settings import misspelt
from tests.deploy.reading import KUBERNETES, ROOT, kustomization, objects

PAGE = (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")
COMMANDS = "\n".join(re.findall(r"^```bash\n(.*?)^```$", PAGE, re.M | re.S))


def test_every_setting_on_the_page_is_a_setting() -> None:
    named = set(re.findall(r"\bTERTULIA_[A-Z_]+", PAGE))

    assert named
    assert misspelt(named) == {}


def test_every_file_on_the_page_is_there() -> None:
    paths = set(re.findall(r"\bdeploy/[\w./-]*\w", PAGE)) - {
        "deploy/secrets",
        "deploy/secrets/providers.env",
        "deploy/.env",
    }

    assert {"deploy/secrets.sh", "deploy/compose.yaml", "deploy/kubernetes"} <= paths
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
    assert [
        name for name in re.findall(r"\]\(([^)]+\.md)\)", PAGE) if not (ROOT / "docs" / name).exists()
    ] == []


def test_the_commands_make_the_secrets_that_are_asked_for() -> None:
    made = re.findall(r"create secret generic (\S+) --from-(\S+?)=(\w+)", COMMANDS)
    examples = {each["metadata"]["name"]: set(each["stringData"]) for each in objects("secrets.example.yaml")}

    assert {name for name, _, _ in made} == set(examples)
    assert all(key in examples[name] for name, how, key in made if how == "file")
    assert set(re.findall(r"--namespace (\S+)", COMMANDS)) == {kustomization()["namespace"]}


def test_the_commands_name_what_there_is() -> None:
    jobs = {each["metadata"]["name"] for each in objects() if each["kind"] == "Job"}
    labels = re.findall(r'label `([\w-]+): "true"`', PAGE)

    assert set(re.findall(r"delete job (\S+)", COMMANDS)) == jobs
    assert labels == ["tertulia-client"]
    assert all(label in (KUBERNETES / "network.yaml").read_text(encoding="utf-8") for label in labels)


def test_no_file_of_a_deployment_names_a_package_registry() -> None:
    folders = [ROOT / "deploy", ROOT / "examples", ROOT / "tests" / "deploy"]
    files = [
        path for folder in folders for path in folder.rglob("*") if path.suffix in {".lock", ".txt", ".yaml"}
    ]
    files += [ROOT / "Dockerfile", ROOT / "Makefile", ROOT / ".dockerignore"]

    addresses = re.compile(r"(?:files\.python|pypi)\S*\.org|index-url\s*=|find-links\s*=")
    assert [path for path in files if addresses.search(Path(path).read_text(encoding="utf-8"))] == []
