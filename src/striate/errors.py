"""Every error Striate raises on purpose. Each says where, what, the arithmetic, and fixes that were checked.

    StriateError
    ├── ShapeError              a window does not fit, or shapes disagree           (also a ValueError)
    ├── GraphError              nodes wired wrongly: unknown names, duplicates, cycles   (ValueError)
    │   └── PatternError        a typo in an architecture pattern, with its position
    ├── OptionError             an argument outside its range, or two that contradict  (ValueError)
    ├── LayerError              what a layer of your own returns or does, and must not   (ValueError)
    ├── ParameterError          names, shapes or types of parameters that do not match  (ValueError)
    ├── DataError               images or labels that cannot be used                    (ValueError)
    │   └── DownloadError       a transfer that broke off or has the wrong checksum
    ├── ModelFileError          a file that is no model, is damaged, or could not be written
    ├── RunFolderError          an output folder that already holds a run, or holds none
    ├── DivergenceError         NaN or infinity in the loss, with step and layer     (ArithmeticError)
    └── MissingDependencyError  an optional package is not installed                    (ImportError)

One warning has a class of its own, ReferenceEngineWarning, so that a program can silence it alone.
Leaves out: errors of Python itself (a missing file stays a FileNotFoundError).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class StriateError(Exception):
    """Base of all errors raised on purpose; the command line turns one into exit status 2."""


@dataclass(frozen=True)
class Fix:
    """One change of one argument that was applied and found to work.

    Fields:  argument   name of the keyword to change
             value      its new value
             output     the output size it gives, per axis
             remark     what it costs, or ""
    """

    argument: str
    value: Any
    output: tuple[int, ...]
    remark: str = ""

    def __str__(self) -> str:
        value = f'"{self.value}"' if isinstance(self.value, str) else f"{self.value}"
        size = "×".join(map(str, self.output))
        return f"{self.argument}={value} → {size}{self.remark}"


class ShapeError(StriateError, ValueError):
    """Shapes do not go together.

    Fields:  what        the sentence, without the place
             where       "conv1 (Conv2d)", or "" when raised outside a network
             arithmetic  the formula with its numbers, or ""
             fixes       changes that were computed and checked
             chain       the layers before the break, one line each
    """

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        arithmetic: str = "",
        fixes: tuple[Fix, ...] = (),
        chain: tuple[str, ...] = (),
    ) -> None:
        self.what, self.where, self.arithmetic = what, where, arithmetic
        self.fixes, self.chain = fixes, chain
        super().__init__(str(self))

    def located(self, where: str, chain: tuple[str, ...] = ()) -> ShapeError:
        """The same error, said of a place in a network."""
        return ShapeError(self.what, where=where, arithmetic=self.arithmetic, fixes=self.fixes, chain=chain)

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.arithmetic:
            lines.append(f"  {self.arithmetic}")
        changes = [fix for fix in self.fixes if fix.argument != "rounding"]
        rounding = [fix for fix in self.fixes if fix.argument == "rounding"]
        if changes:
            end = ";" if rounding else "."
            lines.append("  Try: " + "; ".join(map(str, changes)) + end)
        if rounding:
            lines.append(f"  {'or' if changes else 'Try:'} " + "; ".join(map(str, rounding)) + ".")
        if self.chain:
            lines.append("  The network up to here:")
            lines.extend(f"    {line}" for line in self.chain)
        return "\n".join(lines)


class GraphError(StriateError, ValueError):
    """Nodes of a network are wired wrongly."""


class PatternError(GraphError):
    """A typo in an architecture pattern; `position` counts characters from 0."""

    def __init__(self, what: str, text: str, position: int) -> None:
        self.what, self.text, self.position = what, text, position
        super().__init__(f"{what}\n  {text}\n  {' ' * position}^")


class OptionError(StriateError, ValueError):
    """An argument is outside its range, or contradicts another."""


class LayerError(StriateError, ValueError):
    """A layer of your own returns what does not fit, or writes where it must not."""


class ParameterError(StriateError, ValueError):
    """Names, shapes or types of parameters do not match the network."""


class DataError(StriateError, ValueError):
    """Images or labels that cannot be used as they are."""


class DownloadError(DataError):
    """A download broke off or has the wrong checksum."""


class ModelFileError(StriateError):
    """A file is no Striate model, is damaged, or could not be written."""


class RunFolderError(StriateError):
    """An output folder already holds a run, or holds none to go on with."""


class DivergenceError(StriateError, ArithmeticError):
    """The loss became NaN or infinite.

    Fields:  step   the training step, counted from 1
             layer  the first layer whose numbers are not finite
    """

    def __init__(self, what: str, *, step: int, layer: str) -> None:
        self.step, self.layer = step, layer
        super().__init__(what)


class MissingDependencyError(StriateError, ImportError):
    """An optional package is needed for this and is not installed."""

    def __init__(self, package: str, purpose: str, *, extra: str = "", remedy: str = "") -> None:
        super().__init__(f"{purpose} needs {package}: " + (remedy or f"pip install 'striate[{extra}]'"))


class ReferenceEngineWarning(UserWarning):
    """A network with layers of your own runs on the reference engine; said once in a process."""
