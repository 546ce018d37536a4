"""Tables and progress for people. Every number comes from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..data import SOURCES, find
from ..data.pictures import PICTURES
from ..errors import DataError
from ..foreign import visible
from ..graph import Graph
from ..model import Guess
from ..shapes import TransposedAxis, WindowAxis, times

if TYPE_CHECKING:
    from ..explain import Graded
    from ..plan import PlanRow, WorkMemory  # with the modules of the native engine, which need not be built
    from ..training.speed import Speed


def console(*, stderr: bool = False) -> Console:
    """Standard output (or standard error) for people; brackets are no markup."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def say(text: str, *, stderr: bool = False, style: str | None = None) -> None:
    """A line of prose, as it is: what others wrote in it moves no cursor, and the terminal wraps it."""
    console(stderr=stderr).print(Text(visible(text, lines=True), style=style or ""), soft_wrap=True)


def table_of(*headers: str) -> Table:
    """An empty table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        table.add_column(Text(header), overflow="fold")
    return table


def add(table: Table, *cells: str, style: str | None = None) -> None:
    """A row of plain text."""
    table.add_row(*(Text(visible(cell, lines=True)) for cell in cells), style=style)


def shape_rows(graph: Graph) -> list[dict[str, Any]]:
    """Each layer's shapes, with the arithmetic of its window."""
    rows = []
    for node in graph.nodes:
        axes = node.layer.windows(*node.input_shapes)
        rows.append({
            "layer": node.name, "kind": node.layer.kind, "inputs": list(node.inputs),
            "input_shapes": [list(shape) for shape in node.input_shapes], "output_shape": list(node.output_shape),
            "arithmetic": list(dict.fromkeys(_arithmetic(axis) for axis in axes)),
            "padding": [[axis.before, axis.after] for axis in axes],
            "unread": [axis.unread_count for axis in axes if isinstance(axis, WindowAxis)],
            "parameters": node.parameter_count,
        })  # fmt: skip
    return rows


def _arithmetic(axis: WindowAxis | TransposedAxis) -> str:
    if isinstance(axis, WindowAxis):
        return axis.arithmetic
    extra = f" + {axis.extra}" if axis.extra else ""
    return f"({axis.size} − 1)·{axis.stride} − {axis.before} − {axis.after} + {axis.span}{extra} = {axis.output_size}"


def shape_table(graph: Graph) -> Table:
    """shape_rows as a table."""
    table = table_of("layer", "kind", "input", "output", "arithmetic", "remarks")
    for row in shape_rows(graph):
        remarks = []
        if any(before != after for before, after in row["padding"]):
            top, left = row["padding"]
            remarks.append(f"pads {top[0]}+{top[1]} rows, {left[0]}+{left[1]} columns")
        if any(row["unread"]):
            rows, columns = row["unread"]
            remarks.append(f"{_count(rows, 'row')} and {_count(columns, 'column')} unread")
        add(
            table, visible(row["layer"]), row["kind"], " + ".join(times(tuple(s)) for s in row["input_shapes"]),
            times(tuple(row["output_shape"])), "\n".join(row["arithmetic"]), "; ".join(remarks),
        )  # fmt: skip
    return table


def memory_line(memory: WorkMemory) -> str:
    """What a training step takes, in a sentence."""
    threads = f"{memory.threads} thread{'s' * (memory.threads > 1)}"
    norm = f"; batch norm adds {memory.bytes_an_image:,} bytes for each further image" * (
        memory.bytes_an_image > 0
    )
    return (
        f"a training step of {memory.images} images: {memory.bytes / 2**20:.1f} MiB of work memory "
        f"({memory.isa}, micro-batches of {memory.lanes} images, {threads}); training keeps at most "
        f"{memory.most_threads} threads busy{norm}; predictions keep {memory.prepared_bytes / 2**20:.1f} MiB of packed weights"
    )


def speed_line(speed: Speed) -> str:
    """Images a second, in a sentence."""
    threads = f"{speed.threads} thread{'s' * (speed.threads > 1)}"
    return (
        f"batches of {speed.batch_size}, {threads}, {speed.isa}: trains {speed.training_images_per_second:,.0f} images/s, runs "
        f"{speed.inference_images_per_second:,.0f} images/s; a thread's limit is {speed.peak_macs_per_second / 1e9:.0f} GMAC/s"
    )


def speed_table(speed: Speed) -> Table:
    """Each layer's share of a step of one thread, and of the limit."""
    table = table_of("layer", "forward", "of the limit", "backward", "of the limit")
    for row in speed.layers:
        limits = [
            "" if value is None else f"{value:.0%}" for value in (row.forward_of_peak, row.backward_of_peak)
        ]
        add(table, row.name, f"{row.forward_share:.1%}", limits[0], f"{row.backward_share:.1%}", limits[1])
    return table


def plan_table(rows: Sequence[PlanRow]) -> Table:
    """What the native engine does, op by op."""
    table = table_of("layer", "op", "how and why", "reads at", "writes at", "bytes", "MACs")
    for row in rows:
        add(
            table, row.name, row.op, row.why, f"{row.reads:,}", f"{row.writes:,}", f"{row.bytes_an_image:,}",
            f"{row.macs_share:.1%}",
        )  # fmt: skip
    return table


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def picture_files(paths: Sequence[Path]) -> list[Path]:
    """Pictures named one by one or by folder.

    Raises:   DataError for a path that does not exist or a folder without pictures.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(entry for entry in path.rglob("*") if entry.suffix.lower() in PICTURES)
            if not found:
                raise DataError(f"{path} holds no pictures ({', '.join(PICTURES)}).")
            files += found
        elif path.exists():
            files.append(path)
        else:
            raise DataError(f"there is no picture {path}.")
    return files


def prediction_table(files: Sequence[Path], guesses: Sequence[Sequence[Guess]]) -> Table:
    """A picture a line, the most probable classes beside it."""
    table = table_of("picture", *(f"#{i + 1}" for i in range(max(len(row) for row in guesses))))
    for file, row in zip(files, guesses, strict=True):
        add(table, visible(file), *(f"{visible(guess.label)} {guess.probability:.1%}" for guess in row))
    return table


def data_rows() -> list[dict[str, Any]]:
    """The named data sets and where they lie."""
    rows = []
    for source in SOURCES.values():
        folder = find(source.name) if source.files else None
        rows.append({
            "name": source.name, "title": source.title, "origin": source.origin,
            "where": str(folder) if folder else ("scikit-learn" if not source.files else None),
        })  # fmt: skip
    return rows


def data_table() -> Table:
    """data_rows as a table."""
    table = table_of("name", "what", "where")
    for row in data_rows():
        add(table, row["name"], row["title"], row["where"] or f"not here: striate data fetch {row['name']}")
    return table


def topic_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Topics of exercises and their levels."""
    table = table_of("topic", "level 1", "level 2", "level 3")
    for row in rows:
        add(table, row["topic"], *row["levels"])
    return table


def grade_table(found: Sequence[Graded]) -> Table:
    """Every answer with its verdict, then each student's count."""
    table = table_of("student", "exercise", "answer", "verdict")
    right: dict[str, list[bool]] = {}
    for one in found:
        add(table, visible(one.student), visible(one.exercise), visible(one.given), one.verdict.sentence)
        if one.counted:
            right.setdefault(one.student, []).append(one.verdict.right)
    for student, every in right.items():
        add(table, visible(student), "", "", f"{sum(every)}/{len(every)}", style="bold")
    return table


@contextmanager
def fetch_progress(*, enabled: bool) -> Iterator[Callable[[str, int, int | None], None]]:
    """A progress bar a file, on standard error."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=console(stderr=True), disable=not enabled) as bar:
        tasks: dict[str, Any] = {}

        def report(file: str, have: int, total: int | None) -> None:
            if file not in tasks:
                tasks[file] = bar.add_task(visible(file), total=total)
            bar.update(tasks[file], completed=have)

        yield report
