"""Pictures of training: the learning curve, the learning-rate sweep. matplotlib is loaded here alone."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from ..errors import MissingDependencyError, OptionError
from ..files import write_file_whole
from ..foreign import visible
from ..training import RateSweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TRAIN, _VALIDATION = "#8a8f98", "#1f5fbf"


def prepare() -> None:
    """Import matplotlib in a thread of its own, where it is: while data are read and decompressed, that costs no time."""

    def work() -> None:
        with suppress(ImportError):
            import matplotlib.backends.backend_agg
            import matplotlib.figure  # noqa: F401

    Thread(target=work, daemon=True).start()


def _figure(columns: int) -> tuple[Figure, list[Axes]]:
    try:
        from matplotlib.figure import Figure as NewFigure
    except ImportError:
        raise MissingDependencyError("matplotlib", "drawing a picture", extra="plot") from None
    figure = NewFigure(figsize=(4.6 * columns, 3.4))
    # Fixed margins: a layout that measures every label draws the picture twice.
    figure.subplots_adjust(left=0.16 / columns, right=1 - 0.03 / columns, bottom=0.15, top=0.9, wspace=0.28)
    axes = [figure.add_subplot(1, columns, i + 1) for i in range(columns)]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(visible=True, alpha=0.25)
    return figure, axes


def draw_curve(
    steps: list[tuple[int, float]], epochs: list[dict[str, Any]], steps_per_epoch: int, path: Path, title: str
) -> None:
    """Loss and percent wrong of a run over its epochs, as a PNG.

    Args:     steps (step, loss); epochs, EpochDone dictionaries.
    """
    classify = bool(epochs) and epochs[0]["accuracy"] is not None
    figure, axes = _figure(2 if classify else 1)
    at = [entry["epoch"] for entry in epochs]
    smooth = _smoothed([loss for _, loss in steps])
    axes[0].plot(
        [step / steps_per_epoch for step, _ in steps], smooth, color=_TRAIN, lw=1, label="training, each step"
    )
    validated = [entry for entry in epochs if entry["validation_loss"] is not None]
    if validated:
        axes[0].plot([e["epoch"] for e in validated], [e["validation_loss"] for e in validated], "o-", ms=3.5,
                     color=_VALIDATION, label="held out")  # fmt: skip
    axes[0].set(xlabel="epoch", ylabel="loss", yscale="log")
    axes[0].legend(frameon=False)
    if classify:
        axes[1].plot(
            at, [_error(e["accuracy"]) for e in epochs], "o-", ms=3.5, color=_TRAIN, label="training"
        )
        if validated:
            errors = [_error(e["validation_accuracy"]) for e in validated]
            axes[1].plot(
                [e["epoch"] for e in validated], errors, "o-", ms=3.5, color=_VALIDATION, label="held out"
            )
            axes[1].set_title(f"last: {100 - errors[-1]:.2f} % right", fontsize=10, loc="right")
        axes[1].set(xlabel="epoch", ylabel="wrong, %", yscale="log")
        axes[1].yaxis.set_major_formatter("{x:g}")
        axes[1].legend(frameon=False)
    for axis in axes:
        axis.locator_params(axis="x", integer=True)
    axes[0].set_title(visible(title), fontsize=10, loc="left", parse_math=False)
    _save(figure, path)


def draw_sweep(sweep: RateSweep, path: Path) -> None:
    """Loss over learning rate, the suggestion marked, as a PNG."""
    figure, (axis,) = _figure(1)
    axis.plot(sweep.rates, sweep.losses, color=_VALIDATION)
    axis.axvline(sweep.suggestion, color=_TRAIN, ls="--", lw=1)
    axis.set(xlabel="learning rate", ylabel="loss, smoothed", xscale="log")
    axis.set_title(f"falls fastest near {sweep.suggestion:.2g}", fontsize=10, loc="left")
    _save(figure, path)


def check_picture(path: Path) -> None:
    """Raises OptionError for a name that ends in no kind of picture; a name without an ending is a PNG."""
    kinds = sorted(_figure(1)[0].canvas.get_supported_filetypes())
    if path.suffix and path.suffix[1:].lower() not in kinds:
        raise OptionError(f"{path.name} ends in no kind of picture: there are {', '.join(kinds)}.")


def _save(figure: Figure, path: Path) -> None:
    file = BytesIO()
    figure.savefig(file, dpi=120, format=path.suffix[1:].lower() or "png")
    write_file_whole(path, file.getvalue())


def _error(accuracy: float) -> float:
    """Percent wrong; a hundredth of a percent at least, which a logarithmic axis can show."""
    return max(0.01, 100.0 * (1.0 - accuracy))


def _smoothed(losses: list[float], keep: float = 0.9) -> list[float]:
    out: list[float] = []
    average = 0.0
    for i, loss in enumerate(losses):
        average = keep * average + (1 - keep) * loss
        out.append(average / (1 - keep ** (i + 1)))
    return out
