"""What plugs do with an aside, where it can only be told as a message."""

from dataclasses import replace

from tertulia.llms.base import Prompt, Shown


def with_aside(prompt: Prompt) -> Prompt:
    """Return a prompt that has its aside as first system message; the same one if it has none."""
    if not prompt.aside:
        return prompt
    first = Shown(role="system", text=prompt.aside)
    return replace(prompt, messages=(first, *prompt.messages), aside="")
