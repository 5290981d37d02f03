"""Media that a model cannot be shown: refused where they are newly sent, and put in words ever after."""

from collections.abc import Callable, Sequence

from tertulia.errors import ModelRefused
from tertulia.llms.base import Shown
from tertulia.messages import clean_text
from tertulia.parts import Media


def newly_sent(messages: Sequence[Shown]) -> Shown | None:
    """Return the user's message that is to be answered; ``None`` if the assistant spoke after all users.

    Only in this one are media refused: whoever sent them can send something else. Refused in older
    messages, which come with every prompt, they would end a conversation for good, as after a change
    of the model.
    """
    for shown in reversed(tuple(messages)):
        if shown.role == "user":
            return shown
        if shown.role == "assistant":
            break
    return None


def refuse_new_media(messages: Sequence[Shown], why_withheld: Callable[[Media], str]) -> None:
    """Raise :class:`~tertulia.errors.ModelRefused` if newly sent media cannot be shown, saying why."""
    newest = newly_sent(messages)
    for part in newest.parts if newest else ():
        if isinstance(part, Media) and (why := why_withheld(part)):
            raise ModelRefused(why)


def words_for(media: Media) -> str:
    """Return what stands in for media in the text that a model is shown."""
    name = f" {media.name}" if media.name else ""
    kind = {"image": "an image", "audio": "a recording"}.get(media.kind, "a file")
    return clean_text(f"[{kind}{name} that cannot be shown here]")
