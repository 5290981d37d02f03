"""What a model can be shown and how: its provider's manners and its own abilities together."""

from dataclasses import dataclass
from typing import Final

from pydantic_ai.models import Model

from tertulia.llms.by_pydantic_ai.manners import Manners

_AUDIO: Final = "audio/"
_IMAGE: Final = "image/"
_VIDEO: Final = "video/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The form in which one model is shown a conversation."""

    system: str
    """Who is asked, as pydantic-ai names it; what a provider gave opaquely goes back to the same only."""
    manners: Manners
    kinds: frozenset[str]
    """Beginnings of the media types that the model can make something of."""
    documents: frozenset[str]
    """Media types of the documents that it can read."""

    @classmethod
    def of(cls, model: Model, manners: Manners) -> "Dialect":
        """Return the dialect of a model."""
        profile = model.profile
        able = {
            _IMAGE: profile.get("supports_image_input", True),
            _AUDIO: profile.get("supports_audio_file_input", True),
            _VIDEO: profile.get("supports_video_input", True),
        }
        reads = profile.get("supports_document_input", True)
        return cls(
            system=model.system,
            manners=manners,
            kinds=frozenset(kind for kind, is_able in able.items() if is_able),
            documents=frozenset(profile.get("supported_document_media_types", ()) if reads else ()),
        )

    def takes(self, media_type: str) -> bool:
        """Whether the model can be shown bytes of this type."""
        return self._knows(media_type) and self.manners.takes.fullmatch(media_type) is not None

    def fetches(self, media_type: str, url: str) -> bool:
        """Whether the provider fetches what is at this address itself."""
        return (
            self._knows(media_type)
            and url.startswith(self.manners.schemes)
            and self.manners.fetches.fullmatch(media_type) is not None
        )

    def _knows(self, media_type: str) -> bool:
        kind = media_type.partition("/")[0] + "/"
        return kind in self.kinds if kind in {_AUDIO, _IMAGE, _VIDEO} else media_type in self.documents
