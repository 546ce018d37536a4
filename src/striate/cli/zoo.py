"""The commands of the zoo: what there is, and fetching published weights."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .app import Json, app, emit

if TYPE_CHECKING:
    from rich.table import Table

zoo_app = typer.Typer(no_args_is_help=False, help="The named networks; fetch weights that others trained.")
app.add_typer(zoo_app, name="zoo", invoke_without_command=True)


@zoo_app.callback(invoke_without_command=True)
def zoo_list(context: typer.Context, as_json: Json = False) -> None:
    """The named networks: source, input, parameters, MACs, and whether weights are here or can be fetched."""
    if context.invoked_subcommand is not None:
        return
    from .render import console

    if as_json:
        for row in rows():
            emit({"event": "network", **row})
    else:
        console().print(table())


@zoo_app.command("get")
def zoo_get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A zoo name whose weights are published.")],
    mirror: Annotated[str | None, typer.Option(metavar="URL", help="Fetch the same file from here.")] = None,
    as_json: Json = False,
) -> None:
    """Download published weights into the cache folder, once asked for: what is fetched is shown first, and checked after.

    Example: striate zoo get resnet18
    """
    from .. import zoo
    from .render import fetch_progress, say

    found = zoo.entry(name).download
    if found is not None and not as_json:
        say(
            f"{name}: {found.origin}\n  {mirror or found.url}\n  {found.megabytes:g} MB, {found.license}\n  SHA-256 {found.sha256}"
        )
    with fetch_progress(enabled=not as_json and sys.stderr.isatty()) as report:
        path = zoo.fetch(name, lambda have, total: report(name, have, total), mirror)
    if as_json and found is not None:
        emit({
            "event": "fetched", "name": name, "file": str(path), "url": mirror or found.url, "sha256": found.sha256,
            "license": found.license, "origin": found.origin,
        })  # fmt: skip
    else:
        say(f"{name} is in {path}; striate predict {name} IMAGE… uses it")


def rows() -> list[dict[str, Any]]:
    """The named networks, their size, and where their weights are."""
    from .. import zoo

    found = []
    for entry in zoo.ZOO.values():
        graph, here = zoo.build(entry.name), zoo.find(entry.name)
        found.append({
            "name": entry.name, "input": list(entry.input_shape), "classes": entry.classes,
            "parameters": graph.parameter_count, "macs": graph.macs, "source": entry.source,
            "weights": str(here) if here else None, "download": entry.download.url if entry.download else None,
        })  # fmt: skip
    return found


def table() -> Table:
    """Rows as a table; names are never broken, and MACs are in millions."""
    from ..shapes import times
    from .render import add, table_of

    made = table_of("name", "input", "parameters", "MACs", "weights", "source")
    for column in made.columns[:-1]:
        column.no_wrap = True
    for row in rows():
        weights = "here" if row["weights"] else "zoo get" if row["download"] else ""
        add(
            made, row["name"], times(tuple(row["input"])), f"{row['parameters']:,}", f"{row['macs'] / 1e6:,.1f} M", weights, row["source"]
        )  # fmt: skip
    return made
