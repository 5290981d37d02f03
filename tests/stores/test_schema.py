from sqlalchemy import Integer, LargeBinary, Text

from tertulia.stores.sql.schema import ERASURE, METADATA


def test_every_text_column_that_holds_somebodys_words_says_how_it_is_erased() -> None:
    structural = {
        "messages.role",
        "runs.status",
        "runs.performer",
        "steps.path",
        "steps.kind",
        "jobs.kind",
        "jobs.status",
    }

    texts = {
        f"{table.name}.{column.name}"
        for table in METADATA.tables.values()
        for column in table.columns
        if isinstance(column.type, Text)
    }

    assert texts - structural == set(ERASURE)


def test_the_tenant_leads_every_key() -> None:
    keys = {table.name: next(iter(table.primary_key)).name for table in METADATA.tables.values()}

    assert keys.pop("tenants") == "id"
    assert set(keys.values()) == {"tenant"}


def test_ids_take_sixteen_bytes() -> None:
    identifiers = [
        column
        for table in METADATA.tables.values()
        for column in table.columns
        if column.name.endswith("_id") and column.name not in {"user_id", "external_id"}
    ]

    assert identifiers
    assert all(isinstance(c.type, LargeBinary) and c.type.length == 16 for c in identifiers)


def test_times_and_numbers_are_whole() -> None:
    for table in METADATA.tables.values():
        for column in table.columns:
            if column.name.endswith(("_at", "_until", "number")):
                assert isinstance(column.type, Integer), f"{table.name}.{column.name}"
