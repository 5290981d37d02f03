"""The calls of the fake model on each of its wires: what is asked, and the answer's form."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from typing_extensions import override

from tertulia.testing.fake.chat import ChatAnswer
from tertulia.testing.fake.checking_chat import check_chat
from tertulia.testing.fake.checking_response import check_items, check_response
from tertulia.testing.fake.completion import CompletionAnswer, check_completion
from tertulia.testing.fake.keeping import Kept, Shelf, Talk, items_of, marks_in
from tertulia.testing.fake.model import Asked
from tertulia.testing.fake.response import Item, ResponseAnswer
from tertulia.testing.fake.said import Said, marks
from tertulia.testing.fake.sent import Wrong
from tertulia.testing.fake.wire import JSON, Answer, Request


class Call(ABC):
    """One request for an answer."""

    is_background = False

    def __init__(self, body: bytes, request: Request) -> None:
        self.body, self.request = body, request
        self.streams = request.get("stream") is True

    @abstractmethod
    def check(self) -> None:
        """Raise ``Wrong`` for what OpenAI's server would refuse; else the call counts as begun."""

    @abstractmethod
    def asked(self) -> Asked:
        """Return what the model is asked; raises ``Wrong`` for what it cannot be asked at all."""

    @abstractmethod
    def answer(self, said: Said) -> Answer:
        """Return what is said in the form of the wire."""

    @abstractmethod
    def newest(self) -> str:
        """Return the newest thing that a user has said, as far as it is text."""

    def tell(self, answer: Answer, event: bytes) -> None:
        """Take note of an event that is about to be sent."""
        return

    def finish(self, answer: Answer) -> None:
        """Take note that an answer is whole."""
        return

    def leave(self) -> None:
        """Take note that nobody is answered any more; an answer in the background may go on."""
        return


class ChatCall(Call):
    """A request for a chat completion."""

    @property
    def is_plain(self) -> bool:
        """Whether the default reply to it is just text."""
        return "response_format" not in self.request and "tool_choice" not in self.request

    @override
    def check(self) -> None:
        check_chat(self.request)

    @override
    def asked(self) -> Asked:
        request = self.request
        given = _within(request, "response_format", "json_schema", "schema")
        tools = {
            _within(tool, "function", "name"): _within(tool, "function", "parameters")
            for tool in request.get("tools") or ()
        }
        wanted = _within(request, "tool_choice", "function", "name")
        return Asked(
            request=request,
            marks=marks(self.body),
            schema=given,
            tool=_forced(request, tools, wanted),
        )

    @override
    def answer(self, said: Said) -> Answer:
        wants_usage = bool(_within(self.request, "stream_options", "include_usage"))
        return ChatAnswer(said, asked=len(self.body) // 4, wants_usage=wants_usage)

    @override
    def newest(self) -> str:
        return _newest(self.request.get("messages"))


class CompletionCall(Call):
    """A request for a completion of a text."""

    @override
    def check(self) -> None:
        check_completion(self.request)

    @override
    def asked(self) -> Asked:
        return Asked(request=self.request, marks=marks(self.body))

    @override
    def answer(self, said: Said) -> Answer:
        wants_usage = bool(_within(self.request, "stream_options", "include_usage"))
        return CompletionAnswer(said, asked=len(self.body) // 4, wants_usage=wants_usage)

    @override
    def newest(self) -> str:
        prompt = self.request.get("prompt")
        return prompt if isinstance(prompt, str) else ""


class ResponseCall(Call):
    """A request for a Response, with whatever the server keeps of what went before."""

    def __init__(self, body: bytes, request: Request, *, shelf: Shelf) -> None:
        super().__init__(body, request)
        self._shelf = shelf
        self.is_background = request.get("background") is True
        self._context: list[Item] = []
        self._items: list[Item] = []
        self._kept: Kept | None = None

    @override
    def check(self) -> None:
        check_response(self.request)
        self._look_up()
        check_items(self._items, self._context, self._shelf)
        if talk := self._shelf.talk_of(self.request):
            talk.hold(self)

    @override
    def asked(self) -> Asked:
        self._look_up()
        request = self.request
        tools = {tool.get("name"): tool.get("parameters") for tool in request.get("tools") or ()}
        return Asked(
            request=request,
            marks=marks(self.body) + marks_in(self._context),
            schema=_within(request, "text", "format", "schema"),
            tool=_forced(request, tools, _within(request, "tool_choice", "name")),
        )

    @override
    def answer(self, said: Said) -> ResponseAnswer:
        before = sum(len(str(item)) for item in self._context) // 4
        asked = len(self.body) // 4 + before
        return ResponseAnswer(said, request=self.request, asked=asked, cached=before)

    @override
    def newest(self) -> str:
        return _newest(items_of(self.request.get("input")))

    @override
    def tell(self, answer: Answer, event: bytes) -> None:
        if isinstance(answer, ResponseAnswer) and answer.is_last(event):
            self.finish(answer)

    @override
    def finish(self, answer: Answer) -> None:
        if isinstance(answer, ResponseAnswer):
            kept = self._kept or self.kept(answer)
            kept.become(answer.ends)
            if self.request.get("store") is not False:
                self._shelf.add(kept)
            self._converse(kept)
            self.leave()

    @override
    def leave(self) -> None:
        talk = self._talk()
        if talk and talk.holder is self and (self._kept is None or self._kept.is_over):
            talk.holder = None

    def kept(self, answer: ResponseAnswer) -> Kept:
        """Return an answer as it is kept."""
        self._kept = Kept(answer, self.request, self._context, self._items)
        return self._kept

    def _converse(self, kept: Kept) -> None:
        """Add what was asked and answered to the conversation that it belongs to, if it is there."""
        if (talk := self._talk()) and kept.output():
            talk.items += [*kept.input, *kept.output()]

    def _talk(self) -> Talk | None:
        """Return the conversation that it belongs to, if that is still there."""
        try:
            return self._shelf.talk_of(self.request)
        except Wrong:
            return None

    def _look_up(self) -> None:
        """Find what was said before; raises ``Wrong`` if it is kept no longer."""
        self._context = self._shelf.context(self.request)
        if not self._items:
            given = items_of(self.request.get("input"))
            self._items = [_resolved(item, self._shelf) for item in given]


def _resolved(item: Item, shelf: Shelf) -> Item:
    return (shelf.item(item["id"]) or item) if item.get("type") == "item_reference" else item


def _within(given: object, *names: str) -> JSON:
    for name in names:
        if not isinstance(given, Mapping):
            return None
        given = given.get(name)
    return given


def _forced(request: Request, tools: Mapping[JSON, object], wanted: object) -> tuple[str, object] | None:
    """Return the tool that has to be called."""
    if wanted is None and request.get("tool_choice") == "required":
        wanted = next(iter(tools), None)
    return None if wanted is None else (str(wanted), tools.get(wanted) or {"type": "object"})


def _newest(messages: object) -> str:
    if not isinstance(messages, list):
        return ""
    for message in reversed(messages):
        if _within(message, "role") == "user":
            return _text(message.get("content"))
    return ""


def _text(content: object) -> str:
    if isinstance(content, list):
        return "".join(str(_within(part, "text") or "") for part in content)
    return content if isinstance(content, str) else ""
