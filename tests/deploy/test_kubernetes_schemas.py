"""Every object for Kubernetes has the form that Kubernetes wants."""

from typing import Any, Final

import pytest

from tests.demanded import demanded
from tests.deploy.reading import objects

kubernetes_validate = demanded("kubernetes_validate")

VERSIONS: Final = ("1.30", "1.37")
"""The oldest and the newest that the files are tried with; the pause before the stop needs 1.30."""


def called(each: dict[str, Any]) -> str:
    """Return what an object is called, with its kind."""
    return f"{each['kind']}-{each['metadata']['name']}"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("each", [*objects(), *objects("secrets.example.yaml")], ids=called)
def test_every_object_has_the_form_that_kubernetes_wants(each: dict[str, Any], version: str) -> None:
    assert kubernetes_validate.validate(each, version, strict=True) == version


def test_the_validation_refuses_what_is_wrong() -> None:
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"port": []}}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)
