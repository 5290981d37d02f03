"""Those who follow a run are told, and those who have gone are forgotten."""

import asyncio

import pytest

from tertulia.engine.live import LiveRun


async def test_whoever_gave_up_waiting_is_forgotten() -> None:
    live = LiveRun()

    for _ in range(10):
        with pytest.raises(TimeoutError):
            await live.change(within=0)

    assert live._waiting == []


async def test_everybody_who_waits_is_told_and_then_forgotten() -> None:
    live = LiveRun()
    waiting = [asyncio.create_task(live.change(within=10)) for _ in range(3)]
    await asyncio.sleep(0)

    live.begin(1)
    await asyncio.gather(*waiting)

    assert live._waiting == []


async def test_only_the_owner_of_the_latest_epoch_can_lose_a_run() -> None:
    live = LiveRun()
    live.begin(1)
    live.begin(3)

    live.lose(1)
    assert live.is_ours
    live.lose(3)

    assert not live.is_ours
