"""What plugs do with a prompt that goes on from what a provider keeps, where nothing is kept."""

from tertulia.errors import AnswerGone
from tertulia.llms.base import Prompt


def check_stands_alone(prompt: Prompt) -> None:
    """Raise :class:`~tertulia.errors.AnswerGone` if a prompt does not hold all that was said."""
    if prompt.leans_on is not None:
        raise AnswerGone("this provider's earlier answers cannot be followed; show it everything")
