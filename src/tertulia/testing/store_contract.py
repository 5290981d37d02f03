"""The contract of every store, as tests: inherit from :class:`StoreContract`, give it a store.

::

    class TestMyStore(StoreContract):
        @pytest.fixture
        async def store(self):
            store = MyStore(...)
            await store.open()
            yield store
            await store.close()

The ``store`` is open and empty at the start of every test. The tests need pytest-asyncio and
Hypothesis.
"""

from tertulia.testing.contracts.abandoned import AbandonedContract
from tertulia.testing.contracts.accepting import AcceptContract
from tertulia.testing.contracts.agents import AgentContract
from tertulia.testing.contracts.appending import AppendContract
from tertulia.testing.contracts.branch_requests import BranchRequestContract
from tertulia.testing.contracts.branching import ForkContract
from tertulia.testing.contracts.closing import ClosingContract
from tertulia.testing.contracts.committing import CommitContract
from tertulia.testing.contracts.content import ContentContract
from tertulia.testing.contracts.conversations import ConversationContract
from tertulia.testing.contracts.documents import DocumentContract
from tertulia.testing.contracts.isolation import IsolationContract
from tertulia.testing.contracts.jobs import JobContract
from tertulia.testing.contracts.journaling import JournalContract
from tertulia.testing.contracts.leasing import LeaseContract
from tertulia.testing.contracts.listing import RunListContract
from tertulia.testing.contracts.marking import MarkContract
from tertulia.testing.contracts.once import OnceContract
from tertulia.testing.contracts.opening import OpeningContract
from tertulia.testing.contracts.racing import RaceContract
from tertulia.testing.contracts.recording import RecordContract
from tertulia.testing.contracts.repeating import KeyContract, RepeatContract
from tertulia.testing.contracts.resuming import ResumingContract
from tertulia.testing.contracts.rolling_back import InterruptContract, RollbackContract
from tertulia.testing.contracts.states import BranchStateContract, StateContract, ViewStateContract
from tertulia.testing.contracts.stopping import StopContract
from tertulia.testing.contracts.waiting import DecideContract, WaitContract


class StoreContract(
    AgentContract,
    ConversationContract,
    ForkContract,
    MarkContract,
    AppendContract,
    ClosingContract,
    AcceptContract,
    KeyContract,
    RepeatContract,
    ResumingContract,
    RaceContract,
    OnceContract,
    BranchRequestContract,
    InterruptContract,
    RollbackContract,
    StopContract,
    AbandonedContract,
    CommitContract,
    JournalContract,
    RecordContract,
    WaitContract,
    DecideContract,
    LeaseContract,
    RunListContract,
    JobContract,
    StateContract,
    BranchStateContract,
    ViewStateContract,
    DocumentContract,
    IsolationContract,
    ContentContract,
    OpeningContract,
):
    """Everything that is asked of a store."""
