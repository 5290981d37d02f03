"""What the SQL stores share: the units of work, whichever database carries them out."""

from typing_extensions import override

from tertulia.errors import TertuliaError
from tertulia.stores.base import Health, Store
from tertulia.stores.sql.agents import SqlAgents
from tertulia.stores.sql.conversations import SqlConversations
from tertulia.stores.sql.database import Database
from tertulia.stores.sql.documents import SqlDocuments
from tertulia.stores.sql.jobs import SqlJobs
from tertulia.stores.sql.migrate import HEAD, refuse_unknown, revision_on
from tertulia.stores.sql.runs import SqlRuns
from tertulia.stores.sql.states import SqlStates


class SqlStore(Store):
    """A store on a SQL database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._agents = SqlAgents(database)
        self._conversations = SqlConversations(database)
        self._runs = SqlRuns(database)
        self._jobs = SqlJobs(database)
        self._states = SqlStates(database)
        self._documents = SqlDocuments(database)

    @property
    @override
    def agents(self) -> SqlAgents:
        return self._agents

    @property
    @override
    def conversations(self) -> SqlConversations:
        return self._conversations

    @property
    @override
    def runs(self) -> SqlRuns:
        return self._runs

    @property
    @override
    def jobs(self) -> SqlJobs:
        return self._jobs

    @property
    @override
    def states(self) -> SqlStates:
        return self._states

    @property
    @override
    def documents(self) -> SqlDocuments:
        return self._documents

    @override
    async def open(self) -> None:
        await self.database.open()

    @override
    async def close(self) -> None:
        await self.database.close()

    @override
    async def health(self) -> Health:
        try:
            found = await self.database.read(revision_on, tenant=None)
            refuse_unknown(found)
        except TertuliaError as error:
            return Health(ready=False, detail=str(error))
        if found != HEAD:
            return Health(
                ready=False,
                detail=f"the database is at migration {found or 'none'}, this version needs {HEAD}; "
                "run: tertulia db upgrade",
            )
        return Health(ready=True, detail=f"migration {found}")
