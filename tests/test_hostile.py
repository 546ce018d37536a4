"""What others wrote: text on a terminal and on pages, answers of a class, files that claim more than they hold."""

from __future__ import annotations

import csv
import gzip
import json
import struct
import subprocess
import sys
import zipfile
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image

import striate as st
from striate.data.arrays import read_array
from striate.data.readers import read_folder, read_idx, read_npz
from striate.explain import exercises, grade, key, solve
from striate.explain.answers import read_answer
from striate.explain.numbers import approximately, parse_number
from striate.foreign import visible
from striate.limits import LIMITS, check, limit
from striate.records import parse_json, read_json, read_toml
from striate.shapes.windows import WindowAxis

ODD_NAMES = (
    "[/x]",
    "[red]",
    "a[bold]b[/bold]",
    "\x1b[31mred\x1b[0m",
    "x\x07\x08",
    "\u202eevil",
    "two\nlines",
    "\r",
    "\x9b2J",
    ":smile:",
    "\ud800",
)


# ── the terminal ─────────────────────────────────────────────────────────────────────────────────


def _harmless(text: str) -> None:
    assert not any(letter in text for letter in "\x1b\x07\x08\x9b\u202e\r\x00")


def test_text_of_others_is_shown_as_it_is_and_does_nothing() -> None:
    """Brackets stay, and what a terminal would act on is written as an escape (10: 4.7)."""
    for name in ODD_NAMES:
        _harmless(visible(name))
    assert visible("слой [red] 層 é") == "слой [red] 層 é"
    assert visible("a\nb", lines=True) == "a\nb"
    assert (visible("a\nb"), visible("\x1b["), visible("\u202e"), visible("\ud800")) == (
        "a\\nb",
        "\\x1b[",
        "\\u202e",
        "\\ud800",
    )


def _odd_graph() -> st.Graph:
    build = st.GraphBuilder((1, 4, 4))
    for name in ODD_NAMES:
        build.add(st.ReLU(), name=name)
    build.chain([st.Flatten(), st.Linear(2), st.Softmax()])
    return build.build()


@pytest.mark.parametrize(
    "words",
    [
        ("shapes",),
        ("summary",),
        ("summary", "--plan"),
        ("code",),
        ("code", "--to", "torch"),
        ("bench", "--seconds", "0.01"),
    ],
)
def test_names_of_layers_in_every_table(words: tuple[str, ...], striate: Any, here: Path) -> None:
    """Layers named like markup or escapes come out whole in every table (10: 4.7)."""
    (here / "a.json").write_text(json.dumps(_odd_graph().to_dict()))
    done = striate(words[0], "a.json", *words[1:])
    assert done.status == 0, done.err
    _harmless(done.out)
    if words[0] in ("shapes", "summary") and "--plan" not in words:
        assert "[/x]" in done.out
        assert "a[bold]b[/bold]" in done.out
        assert ":smile:" in done.out


def test_names_of_files_and_classes_in_predictions(striate: Any, here: Path) -> None:
    """A picture a[red].png and a class [/x] are shown by their names; --json stays exact (10: 4.7)."""
    x = np.random.default_rng(0).integers(0, 255, (6, 1, 4, 4), np.uint8)
    net = st.Sequential([st.Flatten(), st.Linear(2), st.Softmax()], input_shape=(1, 4, 4))
    model = st.Model(net, class_names=("[/x]", "\x1b[31mred"))
    model.fit(st.Dataset("d", x, np.arange(6) % 2, model.class_names), epochs=1, verbose=False)
    model.save("m.safetensors")
    Image.fromarray(x[0, 0]).save("a[red].png")
    done = striate("predict", "m.safetensors", "a[red].png", "--top", "2")
    assert done.status == 0, done.err
    assert "a[red].png" in done.out
    assert "[/x]" in done.out
    assert "\\x1b[31mred" in done.out
    _harmless(done.out)
    told = striate("predict", "m.safetensors", "a[red].png", "--top", "2", "--json").records[0]
    assert {guess["label"] for guess in told["top"]} == {"[/x]", "\x1b[31mred"}
    missing = striate("predict", "m.safetensors", "no[/x]\x1b[2J.png")
    assert missing.status == 2
    assert "no[/x]\\x1b[2J.png" in missing.err


def test_names_on_pages_and_in_documents() -> None:
    """HTML, LaTeX and notebooks show a layer's name and run nothing of it (10: 4.7)."""
    name = '</script><img src=x onerror=alert(1)>"\\input{x}$a$_`b`[c](javascript:d)'
    for lang in ("en", "ru"):
        build = st.GraphBuilder((1, 2, 2))
        build.add(st.ReLU(), name=name.replace(".", ""))
        found = solve(build.build(), [[[1, 2], [3, -4]]], backward=True)
        for page in (found.to_html(lang=lang, full=True), found._repr_html_()):
            assert "<img" not in page
            assert page.count("</script>") <= 1
        latex = found.to_latex(lang=lang)
        assert "\\input{x}" not in latex
        assert "\\textbackslash{}input\\{x\\}" in latex
        cells = "".join(
            "".join(cell["source"])
            for cell in json.loads(found.to_notebook(lang=lang))["cells"]
            if cell["cell_type"] == "markdown"
        )
        assert "<img" not in cells
        assert "[c](" not in cells


def test_a_notebook_solves_again_whatever_the_names() -> None:
    """The code cell of a notebook is literals alone (10: 4.6)."""
    build = st.GraphBuilder((1, 2, 2))
    build.add(st.ReLU(), name='"); stolen = True; ("')
    found = solve(build.build(), [[[1, 2], [3, -4]]])
    code = next(
        cell["source"] for cell in json.loads(found.to_notebook())["cells"] if cell["cell_type"] == "code"
    )
    names: dict[str, Any] = {}
    exec("".join(code), names)
    assert "stolen" not in names
    assert names["solution"].output.tolist() == found.output.tolist()


# ── answers ──────────────────────────────────────────────────────────────────────────────────────

UNREADABLE = ("1e999999999", "-1e-999999999", "1e400", "1/0", "1_000", "²", "inf", "nan", "1e5/2", "1/1e9", "9" * 5000, f"1/{'7' * 900}", "[[[", "1 2; 3",
              "x" * 30_000, "1e", ".", "--1", "\x1b[31m", "=cmd()", "1e308 1e309")  # fmt: skip


@pytest.mark.parametrize("text", UNREADABLE)
def test_an_answer_that_cannot_be_read_says_so(text: str) -> None:
    """No answer hangs, fills memory or ends in a traceback (10: 4.8)."""
    with pytest.raises(st.OptionError):
        read_answer(text, None)


def test_numbers_are_read_exactly_within_the_limits() -> None:
    """What is a number stays one, and how large it may be is said (10: 4.8)."""
    assert parse_number("1e308") == 10**308
    assert parse_number("-.5") == Fraction(-1, 2)
    assert parse_number("5.") == 5
    assert parse_number("1e-320") == Fraction(1, 10**320)
    assert parse_number("٣") == 3
    with pytest.raises(
        st.OptionError,
        match=r'1e999999999: 1,000,000,000 digits of one number are more than 400.*limit "digits"'.replace(
            ".*", "[^$]*"
        ),
    ):
        parse_number("1e999999999")
    with pytest.raises(st.OptionError, match="larger than any decimal"):
        parse_number("1e309")
    assert approximately(10**400) == float("inf")
    assert approximately(Fraction(-(10**400))) == float("-inf")


def test_a_class_is_graded_to_its_end(striate: Any, here: Path) -> None:
    """An answer that cannot be read is marked for that student, a repeated row counts once, and the others go on (10: 4.8)."""
    every = {name: exercises("convolution", count=2, student=name) for name in ("Ann [/x]", "Bob", "Cem")}
    Path("key.json").write_text(key(every))
    rows = [["student", "exercise", "answer"]]
    for (name, asked), bad in zip(every.items(), ("1e999999999", "1e400", "1/0"), strict=True):
        rows += [
            [name, asked[0].identity, bad],
            [name, asked[1].identity, asked[1].answer_text()],
            [name, asked[1].identity, asked[1].answer_text()],
        ]
    rows += [["Bob", every["Bob"][0].identity, every["Bob"][0].answer_text()]]
    with Path("a.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    found = grade("a.csv", "key.json")
    assert [(one.verdict.mistake, one.verdict.right, one.counted) for one in found] == [
        *[("unreadable", False, True), (None, True, True), ("repeated", False, False)] * 3, ("repeated", False, False),
    ]  # fmt: skip
    assert "cannot be read" in found[0].verdict.sentence
    assert found[2].verdict.sentence == "Row 3 answered this already; only that row counts."
    done = striate("exercise", "grade", "a.csv", "--key", "key.json")
    assert done.status == 0
    assert done.out.count("1/2") == 3
    assert "Ann [/x]" in done.out
    assert [
        one["counted"] for one in striate("exercise", "grade", "a.csv", "--key", "key.json", "--json").records
    ].count(False) == 4


def test_an_answer_of_any_length_is_marked(here: Path) -> None:
    """A cell longer than Python's csv takes by itself ends no class: that answer is unreadable, the others count (10: 4.8)."""
    every = {name: exercises("convolution", count=1, student=name) for name in ("Ann", "Bob")}
    Path("key.json").write_text(key(every))
    long, right = "7 " * 200_000, every["Bob"][0].answer_text()
    Path("a.csv").write_text(
        f'student,exercise,answer\nAnn,{every["Ann"][0].identity},{long}\nBob,{every["Bob"][0].identity},"{right}"\n'
    )
    found = grade("a.csv", "key.json")
    assert [(one.verdict.mistake, one.verdict.right) for one in found] == [
        ("unreadable", False),
        (None, True),
    ]
    assert 'the limit "answer_characters"' in found[0].verdict.sentence


def test_no_and_another_form_are_answers_too() -> None:
    """ "Does not fit" where it fits, and the right numbers in another form, are wrong and not an error (10: 4.8)."""
    one = exercises("relu-backward", 2, count=1)[0]
    flat = one.answer_text().replace(";", " ").split()  # 2×3, given as 3×2
    for text in ("no", f"{' '.join(flat[:2])}; {' '.join(flat[2:4])}; {' '.join(flat[4:])}"):
        verdict = one.check(text)
        assert not verdict.right
        assert verdict.sentence.startswith("Not right.")


# ── limits ───────────────────────────────────────────────────────────────────────────────────────


def test_limits_name_themselves_and_can_be_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every limit has one place, names itself, and STRIATE_LIMITS raises it (10: 4.9)."""
    for name, (most, _) in LIMITS.items():
        check(name, most, "here")
        with pytest.raises(
            st.DataError,
            match=f'the limit "{name}"; where this is meant, set STRIATE_LIMITS={name}={most + 1}',
        ):
            check(name, most + 1, "here")
    monkeypatch.setenv("STRIATE_LIMITS", "classes=5000000000,depth=3")
    check("classes", 10**9, "here")
    assert limit("depth") == 3
    for bad in ("classes", "nothing=1", "classes=x", "classes=²", "classes=1e5"):
        monkeypatch.setenv("STRIATE_LIMITS", bad)
        with pytest.raises(st.OptionError, match="STRIATE_LIMITS is written classes=200000"):
            limit("classes")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 5000, "9" * 5000, "[" * 70 + "]" * 70, "{", "\ud800", "1" * 500, ""]
)
def test_json_and_toml_bring_one_error(text: str, tmp_path: Path) -> None:
    """Deep lists and long numbers end in an error that names the file (10: 4.9)."""
    with pytest.raises(st.DataError, match="the text"):
        parse_json(text, "the text")
    path = tmp_path / "a.toml"
    path.write_text(f"a = {text}", encoding="utf-8", errors="surrogatepass")
    for read in (read_toml, read_json):
        with pytest.raises(st.DataError, match=r"a\.toml"):
            read(path)


def _peak(code: str, folder: Path) -> tuple[int, str]:
    """Peak memory of a process that runs `code`, in bytes, and what it printed."""
    script = (
        f"import striate as st\ntry:\n  {code}\nexcept st.StriateError as e: print(type(e).__name__, e)\n"
    )
    script += "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True, timeout=120
    )
    *said, peak = done.stdout.splitlines()
    return int(peak) * 1024, "\n".join(said)


def _bomb_idx(path: Path) -> None:
    path.write_bytes(
        gzip.compress(b"\0\0\x08\x03" + struct.pack(">III", 60000, 200, 200) + bytes(1 << 28), 1)
    )


def _bomb_npz(path: Path) -> None:
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
        file.open("x.npy", "w", force_zip64=True) as part,
    ):
        np.lib.format.write_array_header_1_0(
            part, {"descr": "|u1", "fortran_order": False, "shape": (1 << 29,)}
        )
        for _ in range(32):
            part.write(bytes(1 << 24))


@pytest.mark.parametrize(
    ("name", "make", "code"),
    [
        (
            "a.gz",
            _bomb_idx,
            "from pathlib import Path; from striate.data.readers import read_idx; read_idx(Path('a.gz'))",
        ),
        ("a.npz", _bomb_npz, "st.load_dataset('a.npz')"),
    ],
)
def test_bombs_are_refused_before_they_are_unpacked(name: str, make: Any, code: str, tmp_path: Path) -> None:
    """gzip and npz files that unpack to gigabytes are refused by their headers (10: 4.9)."""
    make(tmp_path / name)
    peak, said = _peak(code, tmp_path)
    assert 'the limit "unpacked_bytes"' in said
    assert peak < 200_000_000


def test_a_small_model_file_that_declares_millions_is_refused_first(tmp_path: Path) -> None:
    """A model file of a few hundred bytes does not make its parameters (10: 4.9)."""
    from safetensors.numpy import save

    nodes = [{"name": "f", "inputs": ["input"], "kind": "Linear", "out_features": 60_000}]
    for shape, output in (([1000], "f"), ([10**9], "f")):
        told = {
            "graph": {"input_shape": shape, "nodes": nodes, "output": output},
            "seed": 0,
            "class_names": [],
            "preprocessing": None,
        }
        content = save(
            {"f.bias": np.zeros(1, np.float32)},
            {"format": "striate", "version": "1", "description": json.dumps(told)},
        )
        (tmp_path / "m.safetensors").write_bytes(content)
        peak, said = _peak("st.load('m.safetensors')", tmp_path)
        assert said.startswith("ModelFileError m.safetensors")
        assert peak < 200_000_000


@pytest.mark.parametrize("shape", ["3x999999999x999999999", "1x777777777x3", "2x1000000000000x1000000000000"])
def test_shapes_of_any_size_are_arithmetic_alone(shape: str, striate: Any) -> None:
    """`striate shapes` and `summary` make no arrays, however large the image (10: 4.9)."""
    for command in ("shapes", "summary"):
        done = striate(
            command,
            "CONV(kernel=3,stride=2)-RELU-POOL-CONV(stride=7,dilation=5)",
            "--input",
            shape,
            "--rounding",
            "floor",
            "--json",
        )
        assert done.status == 0, done.err
    assert striate("shapes", "CONV(kernel=5,stride=123456789,padding=0)", "--input", shape).status == 2


def test_what_no_window_reads_is_counted_as_by_looking_at_each() -> None:
    """Counts of unread positions and blind windows, by arithmetic, agree with going through them (10: 4.9)."""
    random = Random(5)
    for _ in range(3000):
        size, kernel, stride, dilation = (random.randint(1, most) for most in (20, 6, 9, 9))
        axis = WindowAxis(size, kernel, stride, dilation, random.randint(0, 25), 3, random.randint(1, 12))
        assert axis.unread_count == len(axis.unread)
        starts = (p * stride - axis.before for p in range(axis.output_size))
        blind = [
            p for p, at in enumerate(starts) if not any(0 <= at + t * dilation < size for t in range(kernel))
        ]
        assert axis.blind_window == (blind[0] if blind else None)


def _header(shape: str, descr: str = "'|u1'", order: str = "False") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text + b"\n" + bytes(8)


@pytest.mark.parametrize(
    "content",
    [
        _header("(10**9,)"), _header("(-8,)"), _header("(8, -1)"), _header("(99999999999,)"), _header("(8,)", "'|O'"), _header("(1,)", "[('a', '<i4'), ('b', '<f4')]"),
        _header("(2,)", "'<i4,<f4'"), _header("(9,)"), _header("(7,)"), _header("(1,)", "'<U99999999'"), _header("(8,)", "'M8[s]'"), _header("(" * 200), _header("8"),
        _header(f"({'9' * 5000},)"), _header("(1,) * 70"), _header("(True,)", "'|V8'"), _header("(2,)", "'<U1'").replace(bytes(8), b"\xff" * 8), b"", b"\x93NUMPY\x09\x00", b"PK",
    ],
)  # fmt: skip
def test_npy_headers_are_checked_before_an_array_is_made(content: bytes, tmp_path: Path) -> None:
    """A header tells of the bytes that are there, of numbers or text, or it is refused (10: 4.9)."""
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(st.DataError, match=r"a\.npy"):
        read_array(path)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("x.npy", content)
        file.writestr("y.npy", _header("(8,)"))
    with pytest.raises(st.DataError, match=r"a\.npz"):
        read_npz(tmp_path / "a.npz")


def test_arrays_of_both_orders_are_read(tmp_path: Path) -> None:
    """What NumPy writes is read as NumPy reads it."""
    for array in (
        np.arange(24.0).reshape(2, 3, 4),
        np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
        np.array(["ä", "bc"]),
        np.array(3),
        np.zeros((0, 2)),
    ):
        np.save(tmp_path / "a.npy", array)
        np.testing.assert_array_equal(read_array(tmp_path / "a.npy"), array)


@pytest.mark.parametrize("labels", [[0, 10**9], [0, 2**62], [0, 100_000]])
def test_labels_that_would_make_too_many_classes(labels: list[int], tmp_path: Path) -> None:
    """Labels up to a billion do not make a billion names (10: 4.9)."""
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 4, 4), np.uint8), y=np.array(labels))
    with pytest.raises(st.DataError, match='labels up to .* the limit "classes"'.replace(".*", "[^$]*")):
        read_npz(tmp_path / "a.npz")
    np.savez(
        tmp_path / "b.npz",
        x=np.zeros((1, 4, 4), np.uint8),
        y=np.array([2**64 - 1], np.uint64),
        names=np.array(["a"]),
    )
    with pytest.raises(st.DataError, match="larger than any whole number of 64 bits"):
        read_npz(tmp_path / "b.npz")


@pytest.mark.parametrize("rank", [0, 33, 255])
def test_idx_ranks(rank: int, tmp_path: Path) -> None:
    """An IDX file of no or of very many axes is refused (10: 4.9)."""
    (tmp_path / "a").write_bytes(b"\0\0\x08" + bytes([rank]) + struct.pack(">I", 1) * rank + b"\1")
    with pytest.raises(st.DataError):
        read_idx(tmp_path / "a")


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────


def _of(folder: Path, image: Image.Image, name: str = "a.tif") -> Path:
    (folder / "c").mkdir(exist_ok=True)
    image.save(folder / "c" / name)
    return folder


def test_decimals_and_wide_numbers_in_pictures(tmp_path: Path) -> None:
    """Pictures of decimals from 0 to 1 and of 16 bits keep their greys; where white is not known, they are refused (10: 4.9)."""
    ramp = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    eight = np.rint(ramp * 255).astype(np.uint8)
    for made in (Image.fromarray(ramp), Image.fromarray((ramp * 65535).astype(np.uint16))):
        assert np.abs(read_folder(_of(tmp_path, made)).images[0, 0].astype(int) - eight).max() <= 1
    dark = np.full((4, 4), 200, np.uint16)  # of 65,535, not of 255
    assert (read_folder(_of(tmp_path, Image.fromarray(dark))).images == 1).all()
    for bad in (ramp * 300, ramp - 0.5, ramp * np.nan):
        with pytest.raises(st.DataError, match="its pixels are decimals from .* say what white is"):
            read_folder(_of(tmp_path, Image.fromarray(bad)))
    with pytest.raises(st.DataError, match="whole numbers of 32 bits"):
        read_folder(_of(tmp_path, Image.fromarray((ramp * 1e6).astype(np.int32))))


def test_no_picture_is_handed_to_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EPS and other formats than the listed ones are refused, whatever the file is called (10: 4.9)."""
    monkeypatch.setattr(subprocess, "Popen", lambda *words, **more: pytest.fail("a program was started"))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "a.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    )
    with pytest.raises(st.DataError, match="is not a picture that can be read"):
        read_folder(tmp_path)


@pytest.mark.parametrize("side", [9_500, 14_000, 60_000])
def test_a_bomb_as_first_picture(side: int, tmp_path: Path) -> None:
    """A picture of more pixels than the limit is refused by its header, the first of a folder too (10: 4.9)."""
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    import zlib

    chunk = struct.pack(">I", len(head)) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    data = zlib.compress(bytes(1000))
    body = struct.pack(">I", len(data)) + b"IDAT" + data + struct.pack(">I", zlib.crc32(b"IDAT" + data))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + body)
    with pytest.raises(st.DataError, match="pixels"):
        read_folder(tmp_path)


# ── the command line ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("words", [("shapes", "lenet5", "--input", "²x3x3"), ("shapes", "CONV*²", "--input", "3x8x8"), ("shapes", "CONV*N", "--repeat", "N=²", "--input", "3x8x8"),
                                   ("shapes", "(" * 5000, "--input", "3x8x8"), ("shapes", "(POOL?*9999)*9999", "--no-pool", "--input", "3x8x8"),
                                   ("shapes", f"CONV*{'9' * 5000}", "--input", "3x8x8"), ("shapes", "CONV", "--input", "9" * 5000), ("train", "digits", "--image-size", "²")])  # fmt: skip
def test_numbers_that_are_none_on_the_command_line(words: tuple[str, ...], striate: Any, here: Path) -> None:
    """Superscripts, endless digits and brackets end in one message and status 2 (10: 4.9)."""
    done = striate(*words)
    assert done.status == 2
    assert "Error" in done.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize(
    "words",
    [
        ("zoo", "--json"),
        ("zoo",),
        ("shapes", "lenet5", "--json"),
        ("code", "lenet5"),
        ("shapes", "nothing", "--json"),
    ],
)
def test_a_full_disk_is_one_message(words: tuple[str, ...]) -> None:
    """Output that cannot be written is an error with a status, and no traceback (10: 4.9)."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "striate", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 2
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_chain_of_thousands_and_branches_that_meet_often() -> None:
    """A description of a thousand layers is told and initialized in its own length (10: 4.9)."""
    from striate.parameters import initialize
    from striate.pattern import pattern_of

    build = st.GraphBuilder((1, 4, 4))
    first = build.add(st.Conv2d(2, 1))
    one, other = build.add(st.Dropout(), first), build.add(st.Dropout(), first)
    for _ in range(100):
        one, other = build.add(st.Add(), one, other), build.add(st.Add(), one, other)
    build.add(st.Add(), one, other)
    initialize(build.build())
    chain = st.Sequential([st.ReLU()] * 1500, input_shape=(1, 2, 2))
    assert pattern_of(chain) == "-".join(["RELU"] * 1500)
    assert len(str(chain.summary()).splitlines()) > 1500
