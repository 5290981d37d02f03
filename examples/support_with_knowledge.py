"""An agent that answers questions from documents, and says where it has found what.

    python examples/support_with_knowledge.py "May I send it back?"
    python examples/support_with_knowledge.py --documents docs "How do I back up the database?"

The model is that of the environment (TERTULIA_MODEL, OPENAI_API_KEY, or the embedded one).
"""

import argparse
import asyncio
from pathlib import Path

from tertulia import Agent
from tertulia.memory import KnowledgeProvider

RETURNS = """\
# Returns

You may send back what you have bought within 30 days. We pay for the parcel.

# Repairs

We repair lamps for ten years. Write to us before you send one.
"""


async def main(*, question: str, documents: Path | None) -> None:
    """Answer one question, and print the sources."""
    handbook = KnowledgeProvider("handbook", top_k=3)
    if documents is None:
        await handbook.add(RETURNS, name="returns.md", content_type="text/markdown")
    else:
        await handbook.add_directory(documents)
    agent = Agent(
        name="support",
        instructions="Answer from what is quoted, with the number of the source. Say so if it is not there.",
        context_providers=[handbook],
    )
    async with agent:
        print((await agent.run(question)).text)
        for hit in await handbook.search(question):
            print(f"- {hit.document}, {hit.where}" if hit.where else f"- {hit.document}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("question")
    parser.add_argument("--documents", type=Path, help="a folder of documents; default: a page on returns")
    asyncio.run(main(**vars(parser.parse_args())))
