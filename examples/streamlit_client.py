"""Talk to the agents of a Tertulia server in the browser.

pip install -r examples/requirements.txt
TERTULIA_URL=http://127.0.0.1:8000 streamlit run examples/streamlit_client.py

Nothing is kept here: agents, conversations and messages are the server's, so that any number of such pages,
and other clients beside them, show the same.
"""

import json
import os
import time
import uuid
from typing import Any, Final
from urllib.parse import quote

import requests
import streamlit as st

SERVER: Final = os.environ.get("TERTULIA_URL", "http://127.0.0.1:8000").rstrip("/")
# To be connected, and to be answered: a model takes its time. (A text below would be shown on the page.)
SECONDS: Final = (3, 300)
# What is told of a run that waits for a decision: nothing has gone wrong, and the page says what to decide.
WAITING: Final = frozenset({"needs_attention", "unknown_outcome"})
# Verdicts that go with something: what came of a step, or what a person says.
SPOKEN: Final = frozenset({"done", "say"})

Row = dict[str, Any]


class Refused(Exception):
    """The server has said no; its text says why, its code so that a program knows."""

    def __init__(self, problem: Row) -> None:
        super().__init__(told(problem))
        self.code = problem.get("code")


class Unreachable(Exception):
    """No server answers."""


def main() -> None:
    """Show the page."""
    st.set_page_config(page_title="Tertulia")
    try:
        show_page()
    except Refused as refused:
        st.error(str(refused))
    except Unreachable:
        st.error(
            f"No server answers at {SERVER}. Start one with `make serve`, or name the one that runs: "
            "`TERTULIA_URL=http://… streamlit run examples/streamlit_client.py`"
        )
        st.button("Try again")


def show_page() -> None:
    """Show the agents and conversations to choose from, and the conversation that is chosen."""
    agents = get("/agents/get-agents")
    with st.sidebar:
        agent = choose_agent(agents)
        conversation = choose_conversation(agent) if agent else None
        describe_agent(is_first=not agents)
    for problem in st.session_state.pop("problems", []):
        st.error(problem)
    if agent is None:
        st.title("Tertulia")
        st.info("There is no agent yet. Describe one on the left, and talk to it here.")
    elif conversation is None:
        st.title(agent["name"])
        st.info(f"There is no conversation with {agent['name']} yet. Begin one on the left.")
    else:
        st.title(agent["name"])
        show_conversation(agent, conversation)


# What is on the left.


def choose_agent(agents: list[Row]) -> Row | None:
    """Return the agent that is chosen; without any, None."""
    st.header("Agent")
    by_id = {agent["id"]: agent for agent in agents}
    chosen = st.selectbox(
        "Who speaks?",
        list(by_id),
        format_func=lambda known: by_id[known]["name"],
        key="agent",
        disabled=not agents,
    )
    return by_id.get(chosen)


def choose_conversation(agent: Row) -> str | None:
    """Return the id of the conversation that is chosen, the newest one first; without any, None."""
    begun = {each["id"]: each["timestamp"] for each in reversed(agent["conversations"])}
    chosen = st.selectbox(
        "Conversation",
        list(begun),
        format_func=lambda known: f"{begun[known][:16].replace('T', ' ')} · {known[-12:]}",
        key="conversation",
        disabled=not begun,
    )
    st.button("New conversation", on_click=begin_conversation, args=(agent["id"],))
    return chosen if chosen in begun else None


def describe_agent(*, is_first: bool) -> None:
    """Show the form for a new agent."""
    with st.expander("New agent", expanded=is_first), st.form("new-agent", clear_on_submit=True):
        st.text_input("Name", key="new_name")
        st.text_area("Context", key="new_context", placeholder="You are a chef from the Mediterranean coast.")
        st.text_input("First message", key="new_first_message", placeholder="For how many shall we cook?")
        st.text_area("Instructions", key="new_instructions", placeholder="Propose one dish at a time.")
        st.text_area(
            "Response shape",
            key="new_response_shape",
            placeholder='{"title": "name of the dish", "ingredients": "list of strings"}',
            help="A JSON Schema, or keys and what they mean; empty for plain text.",
        )
        st.form_submit_button("Create", on_click=create_agent)


def create_agent() -> None:
    """Create what the form describes, and choose it."""
    fields = ("name", "context", "first_message", "instructions", "response_shape")
    described = {field: st.session_state[f"new_{field}"] for field in fields}
    agent = attempt("/agents/create-agent", described)
    if agent:
        st.session_state["agent"] = agent["id"]
        begin_conversation(agent["id"])


def begin_conversation(agent_id: str) -> None:
    """Begin a conversation, and choose it."""
    conversation = attempt("/agents/create-conversation", {"agent_id": agent_id})
    if conversation:
        st.session_state["conversation"] = conversation["id"]


# What is in the middle.


def show_conversation(agent: Row, conversation: str) -> None:
    """Show what was said, and let the user go on if that is possible."""
    standing = get(f"/v1/conversations/{quote(conversation, safe='')}")
    if agent["first_message"]:
        st.chat_message("assistant").markdown(agent["first_message"])
    exchanges = get("/agents/get-messages", conversation_id=conversation)
    under_way = len(standing["pending"]) + bool(standing["run"])
    for number, exchange in enumerate(exchanges, start=1):
        st.chat_message("user").text(exchange["user_message"])
        if exchange["agent_message"] is None and number > len(exchanges) - under_way:
            continue
        with st.chat_message("assistant"):
            if exchange["agent_message"] is not None:
                show_answer(exchange["agent_message"], is_shaped=bool(agent["response_shape"]))
            elif number == len(exchanges):
                show_silence(conversation)
            else:
                st.caption("This was never answered.")
    if under_way:
        with st.chat_message("assistant"):
            show_under_way(standing["run"])
    if closed := standing.get("closed"):
        show_end(conversation, closed)
    st.chat_input(
        "Say something", key="said", on_submit=take_down, args=(conversation,), disabled=bool(closed)
    )
    show_unsent(conversation)


def show_answer(text: str, *, is_shaped: bool) -> None:
    """Show an answer; one that has a shape as a table, with the JSON below it."""
    fields = as_object(text) if is_shaped else None
    if fields is None:
        st.markdown(text)
        return
    plain = {name: value for name, value in fields.items() if not is_table(value)}
    if plain:
        st.table([{"field": name, "value": as_text(value)} for name, value in plain.items()])
    for name in fields.keys() - plain.keys():
        st.caption(name)
        st.dataframe(fields[name])
    with st.expander("JSON"):
        st.json(fields)


def show_under_way(run: Row | None) -> None:
    """Say that an answer is to come, or what has to be decided before; None stands for a run to begin yet."""
    if run and run["wait"]:
        show_wait(run["id"], run["wait"])
    elif run and st.session_state.pop("decided", None) == run["id"]:
        with st.spinner("Thinking …"):
            wait_for(run["id"])
        st.rerun()
    else:
        st.info("This is being answered.")
        st.button("Look again")


def show_wait(run_id: str, wait: Row) -> None:
    """Show what somebody has to decide, as it is, and a button for each verdict."""
    st.info("This waits for somebody's decision.")
    st.text(wait["message"])
    subject = wait["subject"]
    if isinstance(subject, dict) and isinstance(subject.get("arguments"), str):
        st.caption(f"All that {subject.get('tool')} would be given:")
        st.code(visible(subject["arguments"]), language="json", wrap_lines=True)
    elif subject is not None:
        st.json(subject)
    if SPOKEN.intersection(wait["verdicts"]):
        st.text_input("What came of it, or is to be said", key="spoken")
    for column, verdict in zip(st.columns(len(wait["verdicts"])), wait["verdicts"], strict=True):
        column.button(verdict.capitalize(), on_click=decide, args=(run_id, wait["path"], verdict))


def wait_for(run_id: str) -> None:
    """Return when a run has ended, or waits once more, or takes too long to be watched."""
    for _ in range(2 * SECONDS[1]):
        if get(f"/v1/runs/{run_id}")["status"] not in {"queued", "running"}:
            return
        time.sleep(0.5)


def show_silence(conversation: str) -> None:
    """Say why the newest message has no answer, and offer what can be done about it."""
    path = f"/v1/conversations/{quote(conversation, safe='')}/messages"
    [message] = get(path, order="desc", limit=1)["data"]
    run = get(f"/v1/runs/{message['run_id']}")
    why = run["error"]["title"] if run["error"] else "It was stopped"
    st.warning(f"There is no answer to this. {why}.")
    if run["status"] == "failed":
        st.button("Ask again", on_click=ask_again, args=(run["id"],), type="primary")


def show_unsent(conversation: str) -> None:
    """Send what was just said; offer to send once more what may have been lost on the way."""
    unsent = st.session_state.get("unsent")
    if not unsent or unsent["conversation"] != conversation:
        return
    st.chat_message("user").text(unsent["message"])
    if unsent["tried"]:
        st.warning("The connection broke. Sent again, your message is still said only once.")
        st.button("Send again", on_click=send, type="primary")
    else:
        with st.spinner("Thinking …"):
            send()
        st.rerun()


def show_end(conversation: str, reason: str) -> None:
    """Say that a conversation is over, and offer to open it again."""
    st.info(
        st.session_state.get("farewells", {}).get(conversation) or f"This conversation is closed: {reason}"
    )
    st.button("Open it again", on_click=reopen, args=(conversation,))


def take_down(conversation: str) -> None:
    """Keep what was said until the server has it; by the key it is one message, however often it is sent."""
    st.session_state["unsent"] = {
        "conversation": conversation,
        "message": st.session_state["said"],
        "key": str(uuid.uuid4()),
        "tried": False,
    }


def send() -> None:
    """Send what was said."""
    unsent = st.session_state["unsent"]
    unsent["tried"] = True
    body = {"conversation_id": unsent["conversation"], "message": unsent["message"]}
    answer = attempt("/agents/chat-agent", body, key=unsent["key"])
    if answer and answer.get("closed"):
        st.session_state.setdefault("farewells", {})[unsent["conversation"]] = answer["closed"]["notice"]


def ask_again(run_id: str) -> None:
    """Have the newest message answered by another run, in the place of the one that failed."""
    attempt(f"/v1/runs/{run_id}/retry", {})


def decide(run_id: str, path: str, verdict: str) -> None:
    """Let a run go on; the path says what was decided about, so that nothing else is."""
    body = {"verdict": verdict, "path": path}
    if verdict in SPOKEN:
        body["value"] = st.session_state["spoken"]
    if attempt(f"/v1/runs/{run_id}/decide", body):
        st.session_state["decided"] = run_id


def reopen(conversation: str) -> None:
    """Let a conversation go on that was closed."""
    if attempt(f"/v1/conversations/{quote(conversation, safe='')}/reopen", {}):
        st.session_state.get("farewells", {}).pop(conversation, None)


# What is asked of the server.


def attempt(path: str, body: Row, *, key: str | None = None) -> Row | None:
    """Send something; what goes wrong is shown on the page, and the answer is None then."""
    try:
        answer = post(path, body, key=key)
    except Refused as refused:
        answer = None
        if refused.code not in WAITING:
            st.session_state.setdefault("problems", []).append(str(refused))
    except Unreachable:
        st.session_state.setdefault("problems", []).append(f"No server answers at {SERVER}.")
        return None
    if key:
        st.session_state.pop("unsent", None)
    return answer


def get(path: str, **query: object) -> Any:  # noqa: ANN401  # JSON
    """Ask for something; raises Refused or Unreachable."""
    return ask("GET", path, params=query)


def post(path: str, body: Row, *, key: str | None = None) -> Row:
    """Send something; raises Refused or Unreachable."""
    headers = {"Idempotency-Key": key} if key else {}
    answer: Row = ask("POST", path, json=body, headers=headers)
    return answer


def ask(method: str, path: str, **more: Any) -> Any:  # noqa: ANN401  # JSON
    """Ask the server, and return the JSON of its answer; raises Refused or Unreachable."""
    try:
        response = requests.request(method, f"{SERVER}{path}", timeout=SECONDS, **more)
        answer = response.json()
    except requests.RequestException as error:
        raise Unreachable from error
    if not response.ok:
        raise Refused(answer)
    return answer


def told(problem: Row) -> str:
    """Return what an error of the server says to a reader."""
    detail = str(problem.get("detail", "")).partition(". ")[0]
    return ": ".join(filter(None, (problem.get("title"), detail)))


def as_object(text: str) -> Row | None:
    """Return the JSON object that a text is, None for any other text."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def visible(text: str) -> str:
    """Return a text in which nothing is hidden, such as marks that turn the direction of writing."""
    return "".join(char if char.isprintable() or char.isspace() else f"\\u{ord(char):04x}" for char in text)


def is_table(value: object) -> bool:
    """Whether a value is a list of objects."""
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def as_text(value: object) -> str:
    """Return a value as a reader likes it best."""
    if isinstance(value, list) and all(isinstance(each, str | int | float) for each in value):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    main()
