"""Tables of the findings store, and how an older store becomes a newer one."""

from collections.abc import Callable

from sqlalchemy import Column, Connection, Integer, LargeBinary, MetaData, String, Table, Text, inspect, select, text

from explorer.core.errors import FindingError

tables = MetaData()
META = Table("meta", tables, Column("name", String(40), primary_key=True), Column("value", Text, nullable=False))
FINDINGS = Table(
    "findings",
    tables,
    Column("id", String(40), primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("words", Text, nullable=False),  # what is searched, in lower case
    Column("record", Text, nullable=False),  # JSON, with numbers and without arrays and figures
    Column("made", String(20), nullable=False),
    Column("changed", String(20), nullable=False),
    Column("deleted", String(20), nullable=False),  # empty: not deleted
)
BLOBS = Table(
    "blobs",
    tables,
    Column("hash", String(64), primary_key=True),  # SHA-256 of what it holds, before compression
    Column("content", LargeBinary, nullable=False),
)
USES = Table(
    "uses",
    tables,
    Column("finding", String(40), primary_key=True),
    Column("part", String(40), primary_key=True),  # views.0, checks.2
    Column("path", String(120), primary_key=True),  # of an array; empty for the figure
    Column("hash", String(64), nullable=False, index=True),
)
Migration = Callable[[Connection], None]


def first_tables(connection: Connection) -> None:
    tables.create_all(connection)


MIGRATIONS: tuple[Migration, ...] = (first_tables,)
"""Each makes a store of its place in this list into one of the next; add one at the end, never change one that was shipped."""


def migrate(connection: Connection) -> None:
    """Bring a store up to date, alone among all who open it; `FindingError` for one of a newer version."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("select pg_advisory_xact_lock(6220113)"))
    else:
        connection.exec_driver_sql("begin immediate")
    version = version_of(connection)
    if version > len(MIGRATIONS):
        raise FindingError(
            f"The findings store has version {version}, and this version of circuit-explorer knows {len(MIGRATIONS)}. Update circuit-explorer; "
            "nothing was changed."
        )
    if version == len(MIGRATIONS):
        return
    for step in MIGRATIONS[version:]:
        step(connection)
    connection.execute(META.delete().where(META.c.name == "version"))
    connection.execute(META.insert().values(name="version", value=str(len(MIGRATIONS))))


def version_of(connection: Connection) -> int:
    if not inspect(connection).has_table("meta"):
        return 0
    found = connection.execute(select(META.c.value).where(META.c.name == "version")).scalar()
    return 0 if found is None else int(found)
