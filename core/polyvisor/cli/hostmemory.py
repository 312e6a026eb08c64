"""Commands for the host's hardware and memory: firmware's tables, pages, merging of pages."""

from __future__ import annotations

from collections.abc import Mapping

from polyvisor.cli._declare import argument, echo, number, option
from polyvisor.cli._session import command, session
from polyvisor.cli._where import size as size_of
from polyvisor.errors import InvalidArgument

__all__: list[str] = []


@command("sysinfo")
def sysinfo_command() -> None:
    """Print as XML what the host's firmware says of it."""
    text = session().connection.sysinfo().to_xml()
    session().facts({"xml": text}, lambda: echo(text))


@command("freepages")
@option("--cellno", type=number(int, -1), default=None, help="Of this NUMA node; -1: all of them.")
@option("--pagesize", default=None, help="Of this size, in KiB unless a unit is named.")
@option("--all", "every", is_flag=True, help="Of each NUMA node.")
def freepages_command(cellno: int | None, pagesize: str | None, every: bool) -> None:
    """Print how many pages of the host's memory nobody uses."""
    connection = session().connection
    if every:
        cells = {cell: connection.free_pages(cell) for cell in range(connection.host.numa_nodes)}
        session().facts(cells, lambda: _cells(cells))
        return
    if cellno is None:
        raise InvalidArgument("freepages: give --cellno, or --all")
    found = connection.free_pages(None if cellno == -1 else cellno)
    if pagesize is not None:
        size = size_of(pagesize)
        if size not in found:
            raise InvalidArgument(
                f"page size {size >> 10} is not available on node {cellno}; there are "
                f"{', '.join(f'{one >> 10} KiB' for one in found)}"
            )
        found = {size: found[size]}
    session().facts(found, lambda: _rows(found))


def _cells(cells: Mapping[int, Mapping[int, int]]) -> None:
    for cell, found in cells.items():
        echo(f"Node {cell}:")
        _rows(found)
        echo("")


def _rows(found: Mapping[int, int]) -> None:
    for size, count in found.items():
        echo(f"{size >> 10}KiB: {count}")


@command("allocpages")
@argument("pagesize")
@argument("pagecount", type=number(int, 0))
@option("--cellno", type=number(int, 0), default=None, help="Of this NUMA node.")
@option("--add", is_flag=True, help="To those that there are.")
@option("--all", "every", is_flag=True, help="Of each NUMA node.")
def allocpages_command(
    pagesize: str, pagecount: int, cellno: int | None, add: bool, every: bool
) -> None:
    """Have the host keep PAGECOUNT huge pages of PAGESIZE, in KiB unless a unit is named."""
    connection = session().connection
    size = size_of(pagesize)
    cells = range(connection.host.numa_nodes) if every else [cellno]
    for cell in cells:
        connection.reserve_pages(size, pagecount, cell=cell, add=add)
    session().done(
        f"Pages of {size >> 10} KiB reserved: {pagecount}", pagesize=size, pages=pagecount
    )


@command("node-memory-tune")
@option("--shm-pages-to-scan", type=number(int, 0), default=None, help="Pages at a time.")
@option("--shm-sleep-millisecs", type=number(int, 0), default=None, help="Between two times.")
@option(
    "--shm-merge-across-nodes", type=number(int, 0), default=None, help="Of several nodes: 0 or 1."
)
def node_memory_tune_command(
    shm_pages_to_scan: int | None,
    shm_sleep_millisecs: int | None,
    shm_merge_across_nodes: int | None,
) -> None:
    """Print or set how the host's kernel merges equal pages of memory."""
    wanted = {
        "pages_to_scan": shm_pages_to_scan,
        "sleep_millisecs": shm_sleep_millisecs,
        "merge_across_nodes": shm_merge_across_nodes,
    }
    values = {name: value for name, value in wanted.items() if value is not None}
    connection = session().connection
    if values:
        connection.set_memory_sharing(values)
        session().done("Merging of pages set", **values)
        return
    found = connection.memory_sharing()

    def plain() -> None:
        echo("Shared memory:")
        for name, value in found.items():
            echo(f"\t{f'shm_{name}':<15} {value}")

    session().facts(dict(found), plain)
