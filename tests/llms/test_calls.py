"""Calls of tools in all the ways in which servers stream them."""

import json
from typing import Any

import pytest

from tertulia.errors import ModelMalformed
from tertulia.llms.wire import calls
from tertulia.llms.wire.calls import CallsHeard


def piece(
    arguments: object = None, *, index: int | None = None, ident: str | None = None, name: str | None = None
) -> dict[str, Any]:
    """Return a piece of a call as a server sends it; what is ``None`` is not in it."""
    function = {"name": name, "arguments": arguments}
    told: dict[str, Any] = {"index": index, "id": ident, "type": "function"}
    return {
        **{key: value for key, value in told.items() if value is not None},
        "function": {key: value for key, value in function.items() if value is not None},
    }


def heard(*events: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    heard = CallsHeard()
    for event in events:
        heard.hear(event)
    return [(call.id, call.name, call.arguments) for call in heard.all()]


ULM, BONN = '{"city":"Ulm"}', '{"city":"Bonn"}'
TWO = [("a", "weather", ULM), ("b", "weather", BONN)]


@pytest.mark.parametrize(
    "events",
    [
        pytest.param(
            [
                [piece("", index=0, ident="a", name="weather")],
                [piece('{"city":', index=0)],
                [piece('"Ulm"}', index=0)],
                [piece("", index=1, ident="b", name="weather")],
                [piece(BONN, index=1)],
            ],
            id="as OpenAI does",
        ),
        pytest.param(
            [
                [
                    piece("", index=0, ident="a", name="weather"),
                    piece("", index=1, ident="b", name="weather"),
                ],
                [piece(BONN[:5], index=1), piece(ULM[:5], index=0)],
                [piece(ULM[5:], index=0), piece(BONN[5:], index=1)],
            ],
            id="both at once",
        ),
        pytest.param(
            [
                [piece(ULM[:5], index=0)],
                [piece(ULM[5:], index=0, name="weather")],
                [piece("", index=0, ident="a")],
                [piece(BONN[:5], index=1, name="weather"), piece(BONN[5:], index=1, ident="b")],
            ],
            id="id and name late",
        ),
        pytest.param(
            [
                [piece(ULM, index=0, ident="a", name="weather")],
                [piece(BONN, index=0, ident="b", name="weather")],
            ],
            id="one index for all",
        ),
        pytest.param(
            [[piece(ULM, ident="a", name="weather"), piece(BONN, ident="b", name="weather")]], id="no index"
        ),
        pytest.param(
            [
                [piece(ident="a", name="weather")],
                [piece(ULM[:5])],
                [piece(ULM[5:])],
                [piece(BONN[:5], ident="b", name="weather")],
                [piece(BONN[5:])],
            ],
            id="no index, in pieces",
        ),
        pytest.param(
            [
                [piece(ULM[:5], ident="a", name="weather"), piece(BONN[:5], ident="b", name="weather")],
                [piece(ULM[5:], ident="a"), piece(BONN[5:], ident="b")],
            ],
            id="ids instead of indices",
        ),
        pytest.param(
            [
                [piece(ULM, ident="a")],
                [piece(BONN, ident="b")],
                [piece(ident="a", name="weather"), piece(ident="b", name="weather")],
            ],
            id="ids instead of indices, names late",
        ),
        pytest.param(
            [
                [piece(ULM[:5], index=0, ident="a", name="weather")],
                [piece(ULM[5:], index=0, ident="x")],
                [piece(BONN[:5], index=1, ident="b", name="weather")],
                [piece(BONN[5:], index=1, ident="y")],
            ],
            id="a new id in every piece",
        ),
        pytest.param(
            [
                [piece("", index=0, ident="a", name="weather")],
                [piece(ULM[:5], index=0, ident="a", name="weather")],
                [piece(ULM[5:], index=0, ident="a", name="weather")],
                [piece("", index=0, ident="a", name="weather")],
                [piece(BONN, index=1, ident="b", name="weather")],
            ],
            id="id and name in every piece",
        ),
        pytest.param(
            [
                [piece(ULM[:5], index=0, ident="a", name="weather")],
                [piece(ULM[5:], index=1)],
                [piece(BONN[:5], index=2, ident="b", name="weather")],
                [piece(BONN[5:], index=3)],
            ],
            id="a new index in every piece",
        ),
        pytest.param(
            [
                [piece(index=0, ident="a", name="wea")],
                [piece(index=0, name="ther")],
                [piece(ULM, index=0)],
                [piece(BONN, index=1, ident="b", name="weather")],
            ],
            id="a name in pieces",
        ),
        pytest.param(
            [
                [piece(json.loads(ULM), index=0, ident="a", name="weather")],
                [piece(json.loads(BONN), index=1, ident="b", name="weather")],
            ],
            id="arguments as objects",
        ),
    ],
)
def test_pieces_find_their_call(events: list[list[dict[str, Any]]]) -> None:
    assert heard(*events) == TWO


@pytest.mark.parametrize(
    "events",
    [
        pytest.param(
            [[piece(ULM, index=0, name="weather")], [piece(BONN, index=1, name="weather")]], id="none"
        ),
        pytest.param(
            [[piece(ULM, index=0, name="weather"), piece(BONN, index=0, name="weather")]], id="same"
        ),
        pytest.param([[piece(ULM, name="weather")], [piece(BONN, name="weather")]], id="no index either"),
        pytest.param(
            [
                [piece(ULM, index=0, ident="0", name="weather")],
                [piece(BONN, index=1, ident="0", name="weather")],
            ],
            id="repeated",
        ),
    ],
)
def test_calls_without_ids_of_their_own_get_some(events: list[list[dict[str, Any]]]) -> None:
    (first, *one), (second, *other) = heard(*events)

    assert first
    assert second
    assert first != second
    assert (one, other) == (["weather", ULM], ["weather", BONN])


def test_calls_of_a_whole_answer_are_as_many_as_there_are() -> None:
    heard = CallsHeard()

    heard.hear_whole([piece("{}", ident="a", name="clock"), piece("", name="clock"), piece({}, name="clock")])

    assert [(call.name, call.arguments) for call in heard.all()] == [
        ("clock", "{}"),
        ("clock", ""),
        ("clock", "{}"),
    ]


def test_the_one_call_of_older_servers_is_heard() -> None:
    heard = CallsHeard()

    heard.hear_function({"name": "clock", "arguments": ""})
    heard.hear_function({"arguments": "{}"})

    [call] = heard.all()
    assert (call.name, call.arguments, bool(call.id)) == ("clock", "{}", True)


def test_halves_of_a_pair_are_joined_across_pieces() -> None:
    assert heard([piece('{"a":"\ud83d', index=0, ident="a", name="n\x00")], [piece('\ude00"}', index=0)]) == [
        ("a", "n\ufffd", '{"a":"\U0001f600"}')
    ]


def test_places_that_nothing_was_put_in_are_no_calls() -> None:
    assert heard([{"index": 0, "id": "a", "type": "custom"}], [piece("", index=1, name="")]) == []


@pytest.mark.parametrize("pieces", ["calls", {"index": 0}, ["call"], [None]])
def test_what_are_no_calls_is_malformed(pieces: object) -> None:
    with pytest.raises(ModelMalformed):
        CallsHeard().hear(pieces)


def test_call_of_nothing_is_malformed() -> None:
    with pytest.raises(ModelMalformed, match="without a name"):
        heard([piece("{}", index=0, ident="a")])


def test_calls_without_end_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "MAX_CALLS", 3)

    with pytest.raises(ModelMalformed, match="more tools"):
        heard(*([piece("{}", index=n, ident=str(n), name="clock")] for n in range(4)))
