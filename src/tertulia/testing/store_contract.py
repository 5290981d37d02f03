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

from tertulia.testing.contracts.accepting import AcceptContract
from tertulia.testing.contracts.agents import AgentContract
from tertulia.testing.contracts.committing import CommitContract
from tertulia.testing.contracts.content import ContentContract
from tertulia.testing.contracts.conversations import ConversationContract
from tertulia.testing.contracts.isolation import IsolationContract
from tertulia.testing.contracts.leasing import LeaseContract
from tertulia.testing.contracts.opening import OpeningContract
from tertulia.testing.contracts.repeating import KeyContract, RepeatContract


class StoreContract(
    AgentContract,
    ConversationContract,
    AcceptContract,
    KeyContract,
    RepeatContract,
    CommitContract,
    LeaseContract,
    IsolationContract,
    ContentContract,
    OpeningContract,
):
    """Everything that is asked of a store."""
