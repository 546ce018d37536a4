"""What `make demo` runs: train a ConvNet on real handwritten digits, then classify pictures with it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import striate as st


def striate(*words: str) -> None:
    """Run a command the way a person would, and show it."""
    print(f"\n$ striate {' '.join(words)}", flush=True)
    subprocess.run([sys.executable, "-m", "striate", *words], check=True)


def main() -> None:
    """Shapes, training, pictures."""
    striate("summary", "digits")
    with tempfile.TemporaryDirectory(prefix="striate-demo-") as folder:
        run, pictures = Path(folder) / "run", Path(folder) / "pictures"
        striate("train", "digits", "--out", str(run))
        data, _ = st.load_dataset("digits")
        _, held_out = data.split(0.2, seed=0)
        pictures.mkdir()
        for i in range(5):
            pixels = np.rint(held_out.images[i, 0] * (255 / held_out.full_scale)).astype(np.uint8)
            Image.fromarray(pixels).resize((64, 64)).save(
                pictures / f"a-handwritten-{held_out.labels[i]}.png"
            )
        striate("predict", str(run / "model.safetensors"), str(pictures))
    print("\nNow yours: .venv/bin/striate train digits, or a folder of class folders of pictures.")


if __name__ == "__main__":
    main()
