"""The command line as people and programs use it, mistakes included."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import striate as st
from striate.cli.app import app, data_app
from striate.cli.zoo import zoo_app

HERE = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data, _ = st.load_dataset("digits")
    model = st.Model(st.zoo.build("digits"))
    model.fit(data, epochs=2, batch_size=32, verbose=False)
    return model.save(tmp_path_factory.mktemp("model") / "m.safetensors")


def test_shapes_of_the_lecture(striate: Any) -> None:
    found = striate("shapes", "CONV(filters=10, kernel=5, padding=2)", "--input", "3x32x32")
    assert found.status == 0
    assert "10×32×32" in found.out
    assert "(32 + 2·2 − 5)/1 + 1 = 32" in found.out
    record = striate(
        "shapes", "CONV(filters=10, kernel=5, padding=2)", "--input", "3x32x32", "--json"
    ).records[0]
    assert record["layers"][0]["output_shape"] == [10, 32, 32]
    assert record["layers"][0]["parameters"] == 760


def test_shapes_that_do_not_fit(striate: Any) -> None:
    found = striate("shapes", "CONV(kernel=3, stride=3, padding=0)", "--input", "1x7x7")
    assert found.status == 2
    assert found.out == ""
    assert "ShapeError: conv1 (Conv2d): a 3×3 filter at stride 3 does not fit a 7×7 input." in found.err
    assert "(7 + 2·0 − 3)/3 + 1 = 2.33" in found.err
    floored = striate(
        "shapes", "CONV(kernel=3, stride=3, padding=0)", "--input", "1x7x7", "--rounding", "floor"
    )
    assert "1 row and 1 column unread" in floored.out
    error = striate("shapes", "CONV(kernel=3, stride=3, padding=0)", "--input", "1x7x7", "--json").records
    assert [(r["event"], r["kind"]) for r in error] == [("error", "ShapeError")]


def test_summary_of_zoo_pattern_file_and_description(striate: Any, trained: Path, tmp_path: Path) -> None:
    assert "22,466" in striate("summary", "convnetjs-cifar10").out
    words = [
        "summary",
        "[(CONV-RELU)*N-POOL?]*M-(FC-RELU)*K,SOFTMAX",
        "--input",
        "3x32x32",
        "--classes",
        "10",
    ]
    found = striate(
        *words,
        "--repeat",
        "N=2",
        "--repeat",
        "M=3",
        "--repeat",
        "K=1",
        "--filters",
        "32,64,128",
        "--hidden",
        "256",
        "--json",
    )
    assert found.records[0]["parameters"] == 814_122
    assert found.records[0]["pattern"] == "[(CONV-RELU)*2-POOL]*3-FC-RELU,SOFTMAX"
    assert "total" in striate("summary", str(trained)).out
    description = tmp_path / "net.json"
    description.write_text(json.dumps(st.zoo.build("lenet5").to_dict()))
    assert "61,706" in striate("summary", str(description)).out


def test_the_plan_says_what_is_done_and_why(striate: Any) -> None:
    line = r"a training step of 7 images: \d+\.\d MiB of work memory \(\w+, micro-batches of \d+ images, \d threads?\)"
    assert re.search(line, striate("summary", "lenet5", "--batch-size", "7").out.replace("\n", " "))
    assert striate("summary", "lenet5", "--json").records[0]["training_step"]["images"] == 64
    text = striate("summary", "lenet5", "--plan").out
    assert "a filter as large as its input is a fully connected layer" in text
    assert "relu1 is fused: nothing else reads c1; s2 is fused: 2×2 windows side by side" in " ".join(
        text.split()
    )
    plan = striate("summary", "lenet5", "--plan", "--json").records[1]
    assert [op["name"] for op in plan["ops"]] == ["c1", "c3", "c5", "f6", "output"]
    assert sum(op["macs_share"] for op in plan["ops"]) == pytest.approx(1.0)
    assert plan["arena_bytes"] > 0
    alone = striate("summary", "lenet5", "--plan", "--json").records[2]
    assert (alone["event"], alone["images"]) == ("prediction_plan", 1)
    # What a convolution had pooled in registers is a pool of its own here; between images and vectors stands a Relayout.
    kinds = [(op["name"], op["op"]) for op in alone["ops"]]
    assert kinds[0] == ("input", "Relayout")
    assert [kind for name, kind in kinds if name == "c3"] in (
        ["ChannelWinograd"],
        ["ChannelConv", "ChannelMaxPool"],
    )
    assert [kind for name, kind in kinds if name == "f6"] == ["ChannelLinear"]
    assert all(op["why"] for op in alone["ops"])


def test_training_leaves_a_run_and_its_model_can_be_used(striate: Any, here: Path) -> None:
    found = striate("train", "digits", "--epochs", "2")
    assert found.status == 0, found.err
    assert found.out.startswith("Striate 0.1.0: training on digits, in runs/digits-1\n")
    run = here / "runs" / "digits-1"
    assert {p.name for p in run.iterdir()} == {
        "run.json",
        "events.jsonl",
        "checkpoint.safetensors",
        "model.safetensors",
        "curve.png",
    }
    with Image.open(run / "curve.png") as curve:
        assert curve.width > 600
    events = [json.loads(line)["event"] for line in (run / "events.jsonl").read_text().splitlines()]
    assert (events[0], events.count("stepped"), events.count("epochdone"), events[-1]) == (
        "started",
        90,
        2,
        "ended",
    )
    model = str(run / "model.safetensors")
    assert striate("evaluate", model, "digits", "--hold-out", "0.2").out.startswith(
        "digits (held out): accuracy 9"
    )
    assert striate("train", "digits", "--epochs", "1").out.startswith(
        "Striate 0.1.0: training on digits, in runs/digits-2\n"
    )


def test_json_is_json_and_nothing_else(striate: Any, here: Path, trained: Path) -> None:
    found = striate("train", "digits", "--epochs", "1", "--out", "run", "--json")
    assert found.status == 0
    events = [record["event"] for record in found.records]
    assert events[0] == "started"
    assert events[-2:] == ["ended", "done"]
    assert striate("evaluate", str(trained), "digits", "--json").records[0]["accuracy"] > 0.9
    assert {r["name"] for r in striate("data", "--json").records} == {
        "digits",
        "mnist",
        "fashion-mnist",
        "cifar10",
    }
    assert {r["name"] for r in striate("zoo", "--json").records} == set(st.zoo.ZOO)
    sweep = striate("lr-find", "digits", "--steps", "20", "--plot", "sweep.png", "--json").records[0]
    assert len(sweep["rates"]) == len(sweep["losses"])
    assert (here / "sweep.png").exists()


def test_predicting_pictures_and_folders(striate: Any, here: Path, trained: Path) -> None:
    data, _ = st.load_dataset("digits")
    for i in range(3):
        pixels = np.rint(data.images[i, 0] * (255 / 16)).astype(np.uint8)
        folder = here / "pictures"
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    found = striate("predict", str(trained), "pictures", "pictures/2.png", "--top", "2", "--json")
    assert [Path(r["image"]).name for r in found.records] == ["0.png", "1.png", "2.png", "2.png"]
    assert [r["top"][0]["label"] for r in found.records] == ["0", "1", "2", "2"]
    assert all(
        len(r["top"]) == 2 and r["top"][0]["probability"] >= r["top"][1]["probability"] for r in found.records
    )
    assert "pictures/0.png" in striate("predict", str(trained), "pictures/0.png").out


def test_regression_and_hinge_and_options(striate: Any, here: Path) -> None:
    found = striate(
        "train", "digits", "--net", "CONV-RELU-POOL,SOFTMAX", "--filters", "4", "--epochs", "1", "--optimizer", "nesterov", "--lr", "0.01",
        "--schedule", "cosine", "--warm-up", "10", "--weight-decay", "0.001", "--clip-norm", "1", "--loss", "hinge", "--augment",
        "shift=1,flip,brightness=0.1,contrast=0.1", "--init", "convnetjs", "--patience", "3", "--out", "run",
    )  # fmt: skip
    assert found.status == 0, found.err
    options = json.loads((here / "run" / "run.json").read_text())
    assert (options["optimizer"], options["patience"]) == ("nesterov", 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "imagenet"], "DataError: there is no data set 'imagenet'"),
        (
            ["train", "digits", "--net", "lenet6"],
            "OptionError: there is no network 'lenet6' in the zoo. The nearest: lenet5",
        ),
        (["train", "digits", "--net", "CONV-REUL"], "PatternError: unknown layer 'REUL'; did you mean RELU?"),
        (["train", "digits", "--optimizer", "lion"], "OptionError: there is no optimizer 'lion'"),
        (["train", "digits", "--schedule", "square"], "OptionError: there is no schedule 'square'"),
        (
            ["train", "digits", "--loss", "l1"],
            "OptionError: there is no loss 'l1'; there are cross-entropy, hinge, mse.",
        ),
        (["train", "digits", "--augment", "rotate=3"], "OptionError: unknown augmentation 'rotate'"),
        (
            ["train", "digits", "--augment", "shift=x"],
            "OptionError: augmentation shift needs a number, got 'x'",
        ),
        (["train", "digits", "--epochs", "0"], "Invalid value for '--epochs'"),
        (["train", "digits", "--engine", "gpu"], "OptionError: engine must be one of"),
        (["train", "digits", "--init", "zeros"], "OptionError: initialization must be one of"),
        (["train", "--resume"], "OptionError: --resume needs the run's folder: --out FOLDER."),
        (["train", "--resume", "--out", "nothing"], "RunFolderError: nothing holds no run to go on with"),
        (["train", "digits", "--image-size", "big"], "OptionError: --image-size is written 32x32"),
        (["summary", "CONV-RELU"], "OptionError: a pattern needs the input's shape: --input 3x32x32."),
        (["summary", "lenet5", "--input", "28x28"], "OptionError: expected a shape such as 3x32x32"),
        (["summary", "missing.safetensors"], "FileNotFoundError: there is no file missing.safetensors"),
        (["summary", "CONV*N", "--input", "3x8x8", "--repeat", "N"], "OptionError: --repeat is written N=2"),
        (["evaluate", "missing.safetensors", "digits"], "FileNotFoundError"),
        (["predict", "missing.safetensors", "a.png"], "FileNotFoundError"),
        (["data", "fetch", "imagenet"], "DataError: there is no data set 'imagenet' to fetch"),
        (["tarin"], "No such command 'tarin'"),
    ],
)
def test_mistakes_end_with_one_message_and_status_2(
    striate: Any, here: Path, words: list[str], message: str
) -> None:
    found = striate(*words)
    assert found.status == 2, found.out + found.err
    assert message in found.err
    assert "Traceback" not in found.err


def test_mistakes_with_files(striate: Any, here: Path, trained: Path) -> None:
    (here / "fake.png").write_bytes(b"no picture")
    assert (
        "DataError: fake.png is not a picture that can be read"
        in striate("predict", str(trained), "fake.png").err
    )
    assert "DataError: there is no picture none.png" in striate("predict", str(trained), "none.png").err
    (here / "empty").mkdir()
    assert "DataError: empty holds no pictures" in striate("predict", str(trained), "empty").err
    assert "ModelFileError: fake.png is no model file" in striate("predict", "fake.png", "fake.png").err
    np.savez("three.npz", x=np.zeros((9, 3, 8, 8), np.uint8), y=np.arange(9) % 3)
    assert (
        "the network takes 1 channel(s), and the images have 3"
        in striate("evaluate", str(trained), "three.npz").err
    )
    np.savez("nan.npz", x=np.full((9, 1, 8, 8), np.nan), y=np.arange(9) % 3)
    assert "holds NaN or infinity" in striate("train", "nan.npz").err
    (here / "set" / "a").mkdir(parents=True)
    assert "DataError: set/a holds no pictures" in striate("train", "set").err


def test_a_folder_that_holds_a_run_is_refused_and_may_be_overwritten(striate: Any, here: Path) -> None:
    assert striate("train", "digits", "--epochs", "1", "--out", "run").status == 0
    before = (here / "run" / "model.safetensors").read_bytes()
    refused = striate("train", "digits", "--epochs", "1", "--out", "run")
    assert refused.status == 2
    assert "--resume; replace it: --overwrite" in refused.err
    assert (here / "run" / "model.safetensors").read_bytes() == before
    assert "trains on digits, not on mnist" in striate("train", "mnist", "--out", "run", "--resume").err
    (here / "run" / "keep.txt").write_text("mine")
    assert (
        striate("train", "digits", "--epochs", "1", "--seed", "5", "--out", "run", "--overwrite").status == 0
    )
    assert (here / "run" / "keep.txt").exists()
    assert (here / "run" / "model.safetensors").read_bytes() != before
    done = striate("train", "--out", "run", "--resume")
    assert done.status == 0
    assert "finished after 1 epochs" in done.out


# ── help, start-up ───────────────────────────────────────────────────────────────────────────────


def commands() -> list[list[str]]:
    plain = [[command.name or command.callback.__name__] for command in app.registered_commands]
    groups = {"data": data_app, "zoo": zoo_app}
    return [
        *plain, *([name] for name in groups),
        *([name, command.name or ""] for name, group in groups.items() for command in group.registered_commands),
    ]  # fmt: skip


def test_every_command_is_in_the_readme_and_has_help(striate: Any) -> None:
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    for command in commands():
        assert f"striate {' '.join(command)}" in readme, f"{command} is not in README.md"
        assert striate(*command, "--help").status == 0
    assert striate("--version").out == f"striate {st.__version__}\n"


def test_the_first_line_comes_before_the_heavy_imports() -> None:
    code = (
        "import sys, striate.cli.train, striate.cli.app;"
        "print([m for m in ('torch', 'onnx', 'sklearn', 'matplotlib', 'PIL') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_bench_tells_speed_and_each_layer(striate: Any) -> None:
    text = striate("bench", "digits", "--batch-size", "8", "--seconds", "0.01").out
    assert "batches of 8" in text
    assert "of the limit" in text
    record = striate("bench", "digits", "--batch-size", "8", "--seconds", "0.01", "--json").records[0]
    assert record["training_images_per_second"] > 0
    shares = [row["forward_share"] + row["backward_share"] for row in record["layers"]]
    assert 0.5 < sum(shares) < 2.0  # medians of shares need not add up to one
