"""A session that is saved as JSON, and goes on in another process.

    python examples/save_and_restore.py session.json "My name is Ana."
    python examples/save_and_restore.py session.json "What is my name?"

The model is that of the environment (TERTULIA_MODEL, OPENAI_API_KEY, or the embedded one).
"""

import argparse
import asyncio
import json
from pathlib import Path

from tertulia import Agent, Session


async def main(*, file: Path, said: str) -> None:
    """Say something in the session of a file, and save it there."""
    async with Agent(name="companion", instructions="Answer in one sentence.") as agent:
        session = opened(file, agent)
        try:
            print((await agent.run(said, session=session)).text)
        finally:
            # Also when the model has failed: what was said stays in the session.
            save(file, session)


def opened(file: Path, agent: Agent) -> Session:
    """Return the session of a file, or a new one."""
    return agent.restore_session(file.read_text()) if file.exists() else agent.create_session()


def save(file: Path, session: Session) -> None:
    """Write a session down."""
    file.write_text(json.dumps(session.to_dict(), indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", type=Path, help="where the session is")
    parser.add_argument("said", help="what to say")
    asyncio.run(main(**vars(parser.parse_args())))
