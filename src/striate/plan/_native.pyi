"""The native extension, made from native/*.cpp.

Arrays are taken as they are, never converted: another type, order or number of axes, or a read-only array where it writes, is
a TypeError. Sizes are checked. The numbers in `ops`, `floats` and `table` are trusted: an offset or a map that lies
outside the work memory is read and written all the same, so only plan/lanes.py may write them.
"""

from typing import Any

import numpy.typing as npt

COLUMNS: int
FLOATS: int
WIDEST_FED: int
MOST_THREADS: int
SLOTS: int

def instruction_sets() -> list[str]: ...

class Plan:
    def __init__(
        self,
        isa: str,
        ops: npt.NDArray[Any],
        floats: npt.NDArray[Any],
        table: npt.NDArray[Any],
        sizes: list[int],
    ) -> None: ...
    @property
    def isa(self) -> str: ...
    @property
    def lanes(self) -> int: ...
    def workspace_bytes(self, n: int, threads: int, training: bool) -> int: ...
    def run(
        self, x: npt.NDArray[Any], parameters: npt.NDArray[Any], state: npt.NDArray[Any], scores: npt.NDArray[Any],
        workspace: npt.NDArray[Any], threads: int, training: dict[str, Any] | None,
    ) -> float: ...  # fmt: skip
