"""Damaged files, drawn: every kind of file that Striate reads, changed byte by byte or part by part, and what reading it raises.

Run as a program (python -m tests.damages SEED COUNT) in a process whose memory is limited: prints one JSON line with how many
were read and refused, and every damage that ended in anything but a StriateError, took more than SECONDS, or more memory than
MOST_BYTES. Not collected by pytest; tests/test_damages.py runs it.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import resource
import signal
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

import striate as st

SECONDS = 20
MOST_BYTES = 1_000_000_000  # beyond what the process held before
Kind = tuple[str, Callable[[random.Random], bytes], Callable[[Path], object]]

ODD: tuple[Any, ...] = (
    0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**12, 10**30, 10**400, 1e308, -1e308, 1e-320, float("inf"), float("nan"), 0.5, None, True, "",
    "1", "²", "no", "[/x]", "\x1b[2J", "\ud800", "../../x.npy", "\0.npy", [], {}, [[]], [1], [1, 2, 3], {"a": 1}, "input", "relu1", "Softmax",
    "A" * 5000, "1e999999999", "1/0", "inf", "(" * 3000, "(CONV)*999999999", "same",
)  # fmt: skip


class TooSlow(BaseException):
    """A call took longer than SECONDS."""


def flipped(content: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, cut out, doubled or put in, or the end cut off."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(data)) if data else 0
        kind = rng.random()
        if kind < 0.5 and data:
            data[at] = rng.choice((0, 255, data[at] ^ (1 << rng.randrange(8)), rng.randrange(256)))
        elif kind < 0.65:
            del data[at : at + rng.randint(1, 30)]
        elif kind < 0.8:
            data[at:at] = data[at : at + rng.randint(1, 30)] * rng.choice((1, 1, 50))
        elif kind < 0.9:
            data[at:at] = rng.choice(
                (b"[" * 5000, b"9" * 5000, b"1e999999999", b'"', b"\xff\xfe", b"\r\n", b"\0" * 8)
            )
        else:
            del data[at:]
    return bytes(data)


def edited(data: Any, rng: random.Random) -> Any:
    """Parts of lists and tables replaced by odd values, left out, doubled, renamed or nested."""
    data = json.loads(json.dumps(data))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places: list[tuple[Any, Any]] = []
        ahead = [data]
        while ahead:
            here = ahead.pop()
            keys = list(here) if isinstance(here, dict) else range(len(here))
            for key in keys:
                places.append((here, key))
                if isinstance(here[key], (dict, list)):
                    ahead.append(here[key])
        if not places:
            return data
        here, key = rng.choice(places)
        kind = rng.random()
        if kind < 0.6:
            here[key] = rng.choice(ODD)
        elif kind < 0.7:
            here[key] = [here[key]] * rng.choice((0, 2, 100))
        elif kind < 0.8:
            del here[key]
        elif kind < 0.9 and isinstance(here[key], (int, float)):
            here[key] = here[key] * rng.choice((-1, 1000, 10**9, 0.1))
        elif isinstance(here, dict):
            here[rng.choice(("x", "kind", "name", "2", "bias"))] = here.pop(key)
        else:
            here.insert(0, here[key])
    return data


def as_json(data: Any, rng: random.Random) -> bytes:
    """JSON, where a whole number may have thousands of digits and lists may lie deep."""
    text = json.dumps(data)
    if rng.random() < 0.05:
        text = text.replace("1", "9" * 5000, 1)
    if rng.random() < 0.05:
        text = text.replace("[", "[" * rng.choice((70, 3000)), 1)
    return text.encode()


def _network() -> dict[str, Any]:
    build = st.GraphBuilder((1, 8, 8))
    one = build.chain([st.Conv2d(3, 3, padding=1), st.BatchNorm2d(), st.ReLU()], build.input)
    other = build.add(st.Conv2d(3, 1), build.input)
    made = build.chain([st.layers.Clip(0.0, 6.0), st.layers.Slice(1, 0, 6), st.layers.Pad(((0, 0), (1, 1), (0, 0))), st.MaxPool2d(2)],
                       build.add(st.Add(), one, other))  # fmt: skip
    build.chain(
        [
            st.layers.Resize((3, 4, 4)),
            st.layers.Reduce("mean", (2,)),
            st.Flatten(),
            st.Dropout(),
            st.Linear(3),
            st.Softmax(),
        ],
        made,
    )
    return build.build().to_dict()


def _model_file(folder: Path) -> Path:
    model = st.Model(st.Graph.from_dict(_network()), seed=1)
    rng = np.random.default_rng(0)
    model.fit((rng.integers(0, 255, (12, 1, 8, 8), np.uint8), np.arange(12) % 3), epochs=1, batch_size=6, verbose=False,
              checkpoint=folder / "checkpoint.safetensors", checkpoint_steps=1)  # fmt: skip
    return model.save(folder / "model.safetensors")


def _retold(path: Path) -> Callable[[random.Random], bytes]:
    """A safetensors file with another description, or arrays left out, renamed or cut."""
    from safetensors import safe_open
    from safetensors.numpy import save

    with safe_open(path, framework="np") as file:
        metadata, arrays = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    description = json.loads(metadata["description"])

    def draw(rng: random.Random) -> bytes:
        kind, own = rng.random(), dict(arrays)
        told = description
        if kind < 0.35 and "training" in description:
            told = {**description, "training": edited(description["training"], rng)}
        elif kind < 0.7:
            told = edited(description, rng)
        if kind >= 0.7:
            name = rng.choice(list(own))
            array = own.pop(name)
            if rng.random() < 0.7:
                own[rng.choice((name, "x", "best.flat", "optimizer.first"))] = rng.choice(
                    (array.astype(np.float64), array.ravel()[:1], array[None])
                )
        return save(own, {**metadata, "description": as_json(told, rng).decode()})

    return draw


def _either(content: bytes, data: Any, rng: random.Random) -> bytes:
    return flipped(content, rng) if rng.random() < 0.4 else as_json(edited(data, rng), rng)


def _toml(data: dict[str, Any]) -> str:
    lines = [f"{key} = {json.dumps(value)}" for key, value in data.items() if not isinstance(value, dict)]
    return "\n".join([*lines, *(f"[{k}]\n" + _toml(v) for k, v in data.items() if isinstance(v, dict))])


def _npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def _npz(rng: random.Random) -> bytes:
    """Arrays with a header that tells of another shape, type or order; or labels of any size; or an archive with damage."""
    x = np.zeros((4, 3, 8, 8), np.uint8)
    parts = {
        "x": _npy(x),
        "y": _npy(
            np.array(
                rng.choice(
                    ([0, 1, 0, 1], [0, 1, 2, 10**9], [-1, 2**62, 0, 0], [0.5, 1, 2, 3], ["a", "b", "a", "b"])
                )
            )
        ),
    }
    if rng.random() < 0.3:
        parts["x"] = _npy(
            rng.choice(
                (
                    x.astype("c8"),
                    x.astype("M8[s]"),
                    np.zeros(4, "i4,f4"),
                    x.astype(">f8"),
                    np.asfortranarray(x),
                    x.astype("U1"),
                )
            )
        )
    if rng.random() < 0.5:
        name = rng.choice(("x", "y"))
        old, new = rng.choice(((b"(4,", b"(-4"), (b"(4,", b"(9**9,"), (b"'|u1'", b"'|O8'"), (b"False", b"True "), (b"(4, 3, 8, 8)", b"(4, 3, 8, 999999999)"),
                               (b"(4,)", b"(999999999999,)"), (b"'|u1'", b"'<U999999'"), (b"{", b"{" * 90)))  # fmt: skip
        parts[name] = parts[name].replace(old, new, 1) if rng.random() < 0.7 else flipped(parts[name], rng)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as file:
        for name, content in parts.items():
            file.writestr(f"{name}.npy", content)
    return flipped(out.getvalue(), rng) if rng.random() < 0.4 else out.getvalue()


def _idx(rng: random.Random) -> bytes:
    head = rng.choice((b"\0\0\x08\x03", b"\0\0\x08\x01", b"\0\0\x08\xff", b"\0\0\x0d\x03"))
    sizes = b"".join(
        rng.choice((2, 3, 0, 2**31, 2**32 - 1)).to_bytes(4, "big") for _ in range(min(head[3], 40))
    )
    packed = gzip.compress(flipped(head + sizes + bytes(18), rng))
    return flipped(packed, rng) if rng.random() < 0.3 else packed


def _picture(rng: random.Random) -> bytes:
    from PIL import Image

    out, form = io.BytesIO(), rng.choice(("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"))
    mode = rng.choice(
        {
            "PNG": ("L", "RGBA", "I;16", "P", "1"),
            "TIFF": ("F", "I;16", "L", "CMYK"),
            "JPEG": ("L", "CMYK", "RGB"),
        }.get(form, ("RGB",))
    )
    Image.new(mode, (9, 7), rng.choice((0, 1))).save(out, form)
    return flipped(out.getvalue(), rng)


def _used(graph: st.Graph) -> None:
    """What a description is used for without a model."""
    from striate.cli.render import shape_rows

    shape_rows(graph)
    str(graph.summary())
    for target in ("striate", "torch", "keras"):
        try:
            compile(graph.to_code(target), target, "exec")
        except st.OptionError:
            continue


def kinds(folder: Path) -> list[Kind]:
    """(name of the file, what draws one, what reads it)."""
    from striate.cli.folder import RunFolder
    from striate.cli.options import network
    from striate.cli.train import TrainOptions, _stored_options
    from striate.data.readers import read_cifar10, read_folder, read_idx, read_npz
    from striate.explain import Exercise, exercise, exercises, grade, key, read_exercise, read_problem, solve
    from striate.explain.problem import read_npy

    described, model = _network(), _model_file(folder)
    whole, checkpoint = model.read_bytes(), folder / "checkpoint.safetensors"
    retold, recheck = _retold(model), _retold(checkpoint)
    problem = {"network": "CONV(stride=2)-RELU-FC-SOFTMAX", "image": [[1, 2, 3], [4, 5, 6], [7, 8, 9.5]], "label": 1, "backward": True, "rounding": "floor",
               "weights": {"conv1": [[1, 0], [0, -1]], "fc1": [[1], ["1/2"]]}}  # fmt: skip
    topics = [
        exercise(name, level).to_dict()
        for name in ("chain", "softmax", "table", "pool-backward", "output-size")
        for level in (1, 3)
    ]
    keyed = json.loads(key({"Ann": exercises("convolution", count=2), "Bob": exercises("softmax", count=1)}))
    (folder / "key.json").write_text(json.dumps(keyed))
    run = {"data": "digits", "net": None, "epochs": 1, "batch_size": 8, "optimizer": "sgd", "learning_rate": 0.1, "schedule": "cosine", "warm_up": 3,
           "weight_decay": None, "clip_norm": None, "loss": "hinge", "augment": "shift=2", "initialization": "he", "hold_out": 0.2, "patience": None,
           "seed": 0, "engine": None, "image_size": None, "checkpoint_steps": 5, "stages": {"filters": [1, 2]}}  # fmt: skip
    assert set(run) <= set(TrainOptions.__dataclass_fields__)

    def answers(rng: random.Random) -> bytes:
        out = io.StringIO()
        rows = [
            [record["student"], record["id"], rng.choice([str(odd) for odd in ODD if odd != "\ud800"])]
            for record in keyed["key"]
        ]
        csv.writer(out).writerows(
            [["student", "exercise", "answer"], *rows, *rng.choices(rows, k=rng.randrange(3))]
        )
        content = out.getvalue().encode()
        return flipped(content, rng) if rng.random() < 0.3 else content

    def solved(path: Path) -> None:
        asked, backward = read_problem(path)
        solution = solve(asked, backward=backward)
        for form in (solution.to_text, solution.to_html, solution.to_latex):
            form(full=True)

    def checked(path: Path) -> None:
        asked: Exercise = read_exercise(path)
        str(asked)
        asked.check("1 2; 3 4")

    def resumed(path: Path) -> None:
        path.replace(folder / "run.json")
        (folder / "checkpoint.safetensors").touch()
        _stored_options(RunFolder(folder)).to_recipe()

    def loaded(path: Path) -> None:
        found = st.load(path)
        str(found.graph.summary())
        found.predict(np.zeros((1, *found.graph.input_shape), np.float32))
        if found.preprocessing is not None:
            found.classify(
                np.zeros(
                    (1, found.preprocessing.channels, found.preprocessing.height, found.preprocessing.width),
                    np.uint8,
                ),
                top=2,
            )

    def in_folder(path: Path) -> None:
        place = folder / "pictures" / "a"
        place.mkdir(parents=True, exist_ok=True)
        path.replace(place / "first.png")
        read_folder(folder / "pictures")

    def restored(path: Path) -> None:
        one = st.Model(st.Graph.from_dict(described), seed=1)
        rng = np.random.default_rng(0)
        one.fit(
            (rng.integers(0, 255, (12, 1, 8, 8), np.uint8), np.arange(12) % 3),
            epochs=1,
            batch_size=6,
            verbose=False,
            checkpoint=path,
            checkpoint_steps=1,
            resume=True,
        )

    return [
        ("a.safetensors", lambda rng: flipped(whole, rng) if rng.random() < 0.3 else retold(rng), loaded),
        ("c.safetensors", lambda rng: flipped(checkpoint_bytes, rng) if rng.random() < 0.3 else recheck(rng), restored),
        ("a.json", lambda rng: _either(json.dumps(described).encode(), described, rng),
         lambda path: _used(network(str(path), input_shape=None, classes=None))),
        ("p.json", lambda rng: _either(json.dumps(problem).encode(), problem, rng), solved),
        ("p.toml", lambda rng: flipped(_toml(problem).encode(), rng), solved),
        ("e.json", lambda rng: as_json(edited(rng.choice(topics), rng), rng) if rng.random() < 0.7 else flipped(json.dumps(rng.choice(topics)).encode(), rng), checked),
        ("k.json", lambda rng: _either(json.dumps(keyed).encode(), keyed, rng), lambda path: grade(folder / "answers.csv", path)),
        ("answers.csv", answers, lambda path: grade(path, folder / "key.json")),
        ("r.json", lambda rng: _either(json.dumps(run).encode(), run, rng), resumed),
        ("a.npz", _npz, read_npz),
        ("a.npy", lambda rng: flipped(_npy(np.arange(12.0).reshape(3, 4)), rng), read_npy),
        ("a.gz", _idx, read_idx),
        ("a.bin", lambda rng: flipped(bytes(3073 * 2), rng), lambda path: read_cifar10([path], "c", ("a", "b"))),
        ("a.png", _picture, in_folder),
    ] if (checkpoint_bytes := checkpoint.read_bytes()) else []  # fmt: skip


def attempt(read: Callable[[Path], object], path: Path) -> str:
    """ "read", "refused", or what went wrong."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            read(path)
        outcome = "read"
    except (st.StriateError, FileNotFoundError) as error:  # a file may name another that is not there
        outcome = (
            "refused"
            if str(error) and len(str(error)) < 20_000
            else f"a message of {len(str(error))} letters"
        )
    except (TooSlow, Exception):
        outcome = traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return outcome if grown < MOST_BYTES else f"{grown:,} bytes of memory\n{outcome}"


def main(seed: int, count: int) -> None:
    """Draw and read `count` damages; print what came of them."""

    def ring(number: int, frame: Any) -> None:
        raise TooSlow

    signal.signal(signal.SIGALRM, ring)
    found: dict[str, Any] = {"read": 0, "refused": 0, "failed": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)
        every = kinds(folder)
        (folder / "answers.csv").write_text("student,exercise,answer\nAnn,x,1\n")
        held = (
            int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            if Path("/proc/self/statm").exists()
            else 0
        )
        if held:
            resource.setrlimit(resource.RLIMIT_AS, (held + 2 * MOST_BYTES,) * 2)
        for i in range(count):
            kind = every[i % len(every)]
            rng = random.Random(f"{seed} {i}")
            path = folder / f"drawn-{kind[0]}"
            path.write_bytes(kind[1](rng))
            outcome = attempt(kind[2], path)
            if outcome in found:
                found[outcome] += 1
            else:
                found["failed"].append([kind[0], i, outcome[-1500:]])
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
