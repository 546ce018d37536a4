"""Which of the zoo's networks are small enough to be run by every test, and which by slow ones alone."""

from __future__ import annotations

import striate as st

SMALL = tuple(
    name for name, entry in st.zoo.ZOO.items() if entry.input_shape[1] <= 32 and not name.startswith(("resnet3", "resnet4", "resnet5", "resnet1"))
)  # fmt: skip
LARGE = tuple(name for name in st.zoo.ZOO if name not in SMALL)
