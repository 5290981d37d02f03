"""What is stored of an agent can be read again, by whatever rules it was once let in."""

import orjson
import pytest

from tertulia.definitions import AgentDefinition, ModelSettings
from tertulia.errors import InvalidInput


def test_a_definition_is_read_as_it_was_written() -> None:
    settings = ModelSettings(temperature=0.5, stop=("END", "\n"), seed=-(2**63))
    definition = AgentDefinition(name="Chef", context="A kitchen.", settings=settings)

    assert AgentDefinition.decode(definition.encode()) == definition


@pytest.mark.parametrize("stop", [[], [""], ["x" * 501], ["\x00"]])
def test_settings_that_would_be_refused_today_stay_readable(stop: list[str]) -> None:
    kept = orjson.dumps({"v": 1, "name": "Chef", "settings": {"stop": stop, "unheard_of": 1}}).decode()

    assert AgentDefinition.decode(kept).settings.stop == tuple(stop)
    with pytest.raises(InvalidInput, match="stop"):
        ModelSettings.parse({"stop": stop})
