"""benchmarks/out/compare.json as REPORT.md and as the README's table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"


def _mark(value: float, wanted: float | None) -> str:
    if wanted is None:
        return ""
    return f"{wanted:.3g}{'' if value >= wanted else ' ✗'}"


def _heading(m: dict[str, Any]) -> str:
    return (
        f"{m['date']}, {m['cpu']}, {m['cores']} cores, {m['isa']}; Python {m['python']}, NumPy {m['numpy']}, "
        f"PyTorch {m['torch']}, commit {m['commit']}"
    )


def _speed_rows(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| network | batch | Striate trains | PyTorch | ratio | wanted | Striate infers | PyTorch | ratio | to ONNX Runtime |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        sides = []
        for kind in ("training", "inference"):
            best = max(v for k, v in row[kind].items() if k.startswith("torch"))
            sides.append((row[kind]["striate"], best, row[f"{kind}_ratio"]))
        (a, b, c), (d, e, f) = sides
        lines.append(
            f"| {row['network']} | {row['batch']} | {a:,.0f} | {b:,.0f} | **{c:.2f}** | {_mark(c, row['wanted'])} "
            f"| {d:,.0f} | {e:,.0f} | {f:.2f} | {row['onnx_ratio']:.2f} |"
        )
    return lines


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def report(results: dict[str, Any]) -> str:
    """REPORT.md."""
    lines = [
        "# Benchmarks", "",
        f"Made by `benchmarks/compare.py`: {_heading(results['machine'])}. Two threads on both sides, float32, images a second; a "
        "ratio is the median over alternating rounds of Striate to PyTorch's best (eager NCHW or channels_last; at batch 64 of the named "
        "networks torch.compile too), with a pause before each side, because idle threads spin. ✗ marks a figure "
        "below the one wanted; variants are to reach 85 % of what their model is to reach.", "",
        *_speed_rows([row for row in results["rows"] if row["like"] is None]),
    ]  # fmt: skip
    variants = [row for row in results["rows"] if row["like"] is not None]
    if variants:
        lines += [
            "",
            "Other networks of the same kinds, and three of other kinds:",
            "",
            *_speed_rows(variants),
        ]
    if "scaling" in results:
        lines += _rest(results)
    return "\n".join(lines) + "\n"


def _rest(results: dict[str, Any]) -> list[str]:
    lines = [
        "", "Two threads to one at batch 64. The machine's own figure is that of multiply-adds in registers, taken in the same rounds: "
        "where it is below 2, the host gave the second thread less than a core.", "",
        "| network | Striate | the machine | wanted |", "|---|---|---|---|",
    ]  # fmt: skip
    lines += [
        f"| {name} | {ours:.2f} | {own:.2f} | {_mark(ours, 1.85)} |"
        for name, (ours, own) in results["scaling"].items()
    ]
    lines += ["", "| against | | ratio | wanted |", "|---|---|---|---|"]
    value = results["sklearn"]
    lines.append(
        f"| scikit-learn's MLPClassifier | 2-layer network, batch 64 | {value:.1f} | {_mark(value, 3)} |"
    )
    for name, found in results["convnetjs"].items():
        if found:
            wanted = 50 if name == "convnetjs-cifar10" else None
            lines.append(
                f"| ConvNetJS in Node | {name}, batch 4, one thread | {found['ratio']:.0f} | {_mark(found['ratio'], wanted)} |"
            )
    lines += [
        "", "Share of a training step (batch 64, one thread), and of the multiply-add peak measured beside it. Backward of a convolution "
        "before a 2×2 pool goes through the winners alone, so it can pass 100 % of the dense count.", "",
        "| network | layer | forward, share | of peak | backward, share | of peak |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, rows in results["layers"].items():
        lines += [
            f"| {name} | {row['layer']} | {row['forward_share']:.1%} | {_percent(row['forward_of_peak'])} "
            f"| {row['backward_share']:.1%} | {_percent(row['backward_of_peak'])} |"
            for row in rows
        ]
    units = {"import": "s", "first step": "s", "peak memory": "MiB", "installed": "MB"}
    names = {
        "import": "import", "first step": "from the command to the first trained step of LeNet-5",
        "peak memory": "peak memory, ConvNetJS CIFAR-10 at batch 256", "installed": "installed, without dependencies",
    }  # fmt: skip
    lines += ["", "| | Striate | PyTorch | NumPy alone |", "|---|---|---|---|"]
    for what, sides in results["footprint"].items():
        cells = [
            f"{sides[side]:.3g} {units[what]}" if side in sides else ""
            for side in ("striate", "torch", "numpy")
        ]
        lines.append(f"| {names[what]} | {' | '.join(cells)} |")
    for what, found in results["accuracy"].items():
        lines += ["", f"{what}: {found}"]
    return lines


def update_readme(path: Path, results: dict[str, Any]) -> None:
    """Write the table between the README's markers."""
    lines = [
        BEGIN, f"{_heading(results['machine'])}; two threads on both sides; made by `make bench`.", "",
        "| training, images/s | batch | Striate | PyTorch's best | ratio |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for row in results["rows"]:
        if row["like"] is None and row["batch"] in (4, 64):
            best = max(v for k, v in row["training"].items() if k.startswith("torch"))
            lines.append(
                f"| {row['network']} | {row['batch']} | {row['training']['striate']:,.0f} | {best:,.0f} | **{row['training_ratio']:.2f}** |"
            )
    worst = [
        f"{row['network']} {kind} at batch {row['batch']} ({row[f'{kind}_ratio']:.2f})"
        for row in results["rows"]
        for kind in ("training", "inference")
        if row[f"{kind}_ratio"] < 1
    ]
    lines += ["", f"Where it loses to PyTorch: {'; '.join(worst) or 'nowhere in these runs'}.", END]
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(before + "\n".join(lines) + after, encoding="utf-8")
