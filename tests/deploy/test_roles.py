"""The roles of a database: made once by psql, and each may do what it is for and no more."""

import asyncio
import base64
import hashlib
import hmac
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import pytest

from tertulia.errors import StoreUnavailable
from tertulia.stores.sql.migrate import upgrade
from tests.cli.serving import served
from tests.deploy.reading import DEPLOY, ROOT
from tests.postgres import OWNER, PostgresServer
from tests.server.doing import a_conversation, say

DATABASE: Final = "tertulia"
SERVICE: Final = "tertulia_service"
WHERE_SECRETS_ARE: Final = "/run/secrets/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """A server on which the roles were made, and the files that their passwords are from."""

    server: PostgresServer
    secrets: Path

    @property
    def owner_url(self) -> str:
        """URL for migrations."""
        return self.server.owner_url(DATABASE)

    @property
    def service_url(self) -> str:
        """URL for servers."""
        return self.owner_url.replace(OWNER, SERVICE)

    async def value(self, query: str, *, url: str | None = None) -> Any:
        """Return what a query finds; as the administrator, if no URL is given."""
        connection = await asyncpg.connect(url or self.server.administrator_url(DATABASE))
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the script makes, beside a copy of it."""
    folder = tmp_path_factory.mktemp("deploy")
    shutil.copy(DEPLOY / "secrets.sh", folder)
    subprocess.run([folder / "secrets.sh"], check=True, capture_output=True)
    return folder / "secrets"


@pytest.fixture(scope="module")
def installation(secrets: Path) -> Iterator[Installation]:
    """A migrated database, set up as compose does."""
    with PostgresServer() as server:
        server.execute(f"DROP ROLE {OWNER}")
        server.execute(f"CREATE DATABASE {DATABASE}")
        carry_out(server, secrets)
        found = Installation(server=server, secrets=secrets)
        upgrade(found.owner_url)
        yield found


def carry_out(server: PostgresServer, secrets: Path) -> None:
    """Make the roles, with the files where the user of the server can read them."""
    home = server.socket.parent
    readable = shutil.copytree(secrets, home / "secrets", dirs_exist_ok=True)
    readable.chmod(0o755)
    script = home / "roles.sql"
    text = (DEPLOY / "postgresql" / "roles.sql").read_text(encoding="utf-8")
    script.write_text(text.replace(WHERE_SECRETS_ARE, f"{readable}/"), encoding="utf-8")
    server.execute(f"\\i {script}", database=DATABASE)


def password_in(url: Path) -> str:
    password = urlsplit(url.read_text(encoding="utf-8").strip()).password
    assert password is not None
    return password


def is_password(secret: str, stored: str) -> bool:
    """Whether PostgreSQL would let somebody in with this password, by RFC 5803."""
    parts = re.fullmatch(r"SCRAM-SHA-256\$(\d+):(.+)\$(.+):(.+)", stored)
    assert parts is not None
    salted = hashlib.pbkdf2_hmac("sha256", secret.encode(), base64.b64decode(parts[2]), int(parts[1]))
    key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    return base64.b64encode(key).decode() == parts[3]


def test_each_secret_is_made_up_once(secrets: Path) -> None:
    before = {path.name: path.read_text() for path in secrets.iterdir()}

    subprocess.run([secrets.parent / "secrets.sh"], check=True, capture_output=True)

    assert {path.name: path.read_text() for path in secrets.iterdir()} == before
    passwords = {password_in(secrets / "owner_url"), password_in(secrets / "service_url")}
    passwords.add(before["administrator_password"].strip())
    assert len(passwords) == 3
    assert {len(password) for password in passwords} == {48}


def test_other_users_of_the_machine_are_kept_out_and_git_too(secrets: Path) -> None:
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets.iterdir()} == {0o644}
    assert (secrets / ".gitignore").read_text() == "*\n"


@pytest.mark.parametrize(("role", "file"), [(OWNER, "owner_url"), (SERVICE, "service_url")])
async def test_a_role_has_the_password_of_its_url(installation: Installation, role: str, file: str) -> None:
    stored = await installation.value(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'")  # noqa: S608

    url = installation.secrets / file
    assert urlsplit(url.read_text()).username == role
    assert is_password(password_in(url), stored)
    assert not is_password("another", stored)


async def test_the_service_is_bound_by_row_level_security(installation: Installation) -> None:
    above = "rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb"
    ours = f"({above}) AND rolname IN ('{OWNER}', '{SERVICE}')"

    assert await installation.value(f"SELECT count(*) FROM pg_roles WHERE {ours}") == 0  # noqa: S608
    assert await installation.value("SELECT count(*) FROM tenants") == 1
    assert await installation.value("SELECT count(*) FROM tenants", url=installation.service_url) == 0


@pytest.mark.parametrize(
    "forbidden",
    ["CREATE TABLE mine (x int)", "DROP TABLE messages", "ALTER TABLE messages DISABLE ROW LEVEL SECURITY"],
)
async def test_the_service_changes_no_table(installation: Installation, forbidden: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await installation.value(forbidden, url=installation.service_url)


async def test_a_server_works_as_the_service_and_has_no_concern(
    installation: Installation, tmp_path: Path
) -> None:
    secret = tmp_path / "url"
    secret.write_text(installation.service_url)
    chosen = {"TERTULIA_DATABASE_URL_FILE": str(secret), "TERTULIA_MODEL": "scripted:echo"}

    async with served(tmp_path, **chosen) as (_, client):
        answer = await say(client, await a_conversation(client), "hello")
        ready = (await client.get("/readyz")).json()

    assert answer.json()["response"] == "hello"
    assert "row-level security" not in ready["store"]


def test_the_owner_may_migrate_again_and_the_service_may_not_begin(installation: Installation) -> None:
    installation.server.execute(f"CREATE DATABASE empty OWNER {OWNER}")

    upgrade(installation.owner_url)
    with pytest.raises(StoreUnavailable):
        upgrade(installation.service_url.replace(f"/{DATABASE}?", "/empty?"))


async def test_a_server_waits_unready_until_the_database_is_migrated(
    installation: Installation, tmp_path: Path
) -> None:
    installation.server.execute(f"CREATE DATABASE waiting OWNER {OWNER}")
    url = installation.service_url.replace(f"/{DATABASE}?", "/waiting?")

    async with served(tmp_path, TERTULIA_DATABASE_URL=url, TERTULIA_MODEL="scripted:echo") as (_, client):
        before = [(await client.get(path)).status_code for path in ("/livez", "/readyz")]
        await asyncio.to_thread(upgrade, installation.server.owner_url("waiting"))
        after = [(await client.get(path)).status_code for path in ("/livez", "/readyz")]
        answer = await say(client, await a_conversation(client), "hello")

    assert before == [200, 503]
    assert after == [200, 200]
    assert answer.json()["response"] == "hello"


def test_the_roles_on_the_page_are_the_same() -> None:
    page = (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")
    [told] = re.findall(r"^```sql\n(.*?)^```$", page, re.M | re.S)
    script = (DEPLOY / "postgresql" / "roles.sql").read_text(encoding="utf-8")
    [done] = re.findall(r"^BEGIN;\n(.*?)^COMMIT;$", script, re.M | re.S)

    done = done.replace(':"DBNAME"', DATABASE)
    assert re.sub("'[^']+'", "…", told) == re.sub(r":'\w+'", "…", done)


def test_a_url_without_a_password_makes_no_roles(secrets: Path, tmp_path: Path) -> None:
    shutil.copytree(secrets, tmp_path, dirs_exist_ok=True)
    (tmp_path / "service_url").write_text(f"postgresql://{SERVICE}@database:5432/{DATABASE}\n")

    with PostgresServer() as server:
        server.execute(f"DROP ROLE {OWNER}")
        server.execute(f"CREATE DATABASE {DATABASE}")
        with pytest.raises(subprocess.CalledProcessError):
            carry_out(server, tmp_path)
        server.execute(f"CREATE ROLE {OWNER}")  # There is none yet.
