"""A chat in the terminal that remembers what its users say about themselves, in all their sessions.

    python examples/chat_with_memory.py --user ana

The model is that of the environment (TERTULIA_MODEL, OPENAI_API_KEY, or the embedded one).
"""

import argparse
import asyncio
import sys

from tertulia import Agent, AgentRunFinished, TertuliaError
from tertulia.events import TextDelta
from tertulia.memory import UserFacts


async def main(*, user: str, store: str) -> None:
    """Talk until the input ends."""
    agent = Agent(
        name="companion",
        instructions="You are a kind companion. Answer in at most three sentences.",
        context_providers=[UserFacts()],
        store=store,
    )
    async with agent:
        # A new session each time: what is known of the user comes from the provider, not from a history.
        session = agent.create_session(user=user)
        while said := await asyncio.to_thread(ask):
            try:
                async for event in agent.run_stream(said, session=session):
                    if isinstance(event, TextDelta):
                        print(event.text, end="", flush=True)
                    elif isinstance(event, AgentRunFinished):
                        print()
            except TertuliaError as error:
                print(f"\n{error}", file=sys.stderr)


def ask() -> str:
    """Return what is typed next; an empty text when there is no more."""
    print("> ", end="", flush=True)
    return sys.stdin.readline().strip()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--user", default="me", help="whose memory it is")
    parser.add_argument("--store", default="sqlite:///companion.db", help="where everything is kept")
    asyncio.run(main(**vars(parser.parse_args())))
