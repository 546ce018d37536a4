"""Two pictures through one tower: which lie near each other? (Hadsell, Chopra & LeCun 2006)"""

import numpy as np

import striate as st

train, test = st.load_dataset("digits")[0].split(0.2, seed=0)
x, new = (part.images.astype(np.float32) / 16 for part in (train, test))
build, rng = st.GraphBuilder(), np.random.default_rng(0)
for side, conv, fc in (
    ("left", None, None),
    ("right", "conv1", "fc1"),
):  # the right tower shares the left one's
    build.add(st.Conv2d(16, 3, padding=1), build.input(side, x.shape[1:]), share=conv)
    build.chain([st.ReLU(), st.MaxPool2d(2), st.Flatten()])
    build.add(st.Linear(16), share=fc)
model = st.Model(build.build(("fc1", "fc2")))
session = model.session()
for _ in range(300):
    a, b = rng.integers(0, len(x), (2, 256))
    keep = (train.labels[a] == train.labels[b]) | (rng.random(256) < 0.1)  # as many alike as not
    left, right = session.forward((x[a := a[keep]], x[b := b[keep]]))
    distance = np.linalg.norm(apart := left - right, axis=1, keepdims=True) + 1e-6
    same = (train.labels[a] == train.labels[b])[:, None]
    pull = np.where(same, apart, -apart / distance * np.maximum(0, 2 - distance)) / len(a)
    session.backward((pull, -pull))
    session.step(st.Adam(0.003))
known, found = (model.predict((part, part))[0] for part in (x, new))
nearest = train.labels[np.square(found[:, None] - known).sum(axis=2).argmin(axis=1)]
print(f"{(nearest == test.labels).mean():.1%} of {len(new)} new digits lie nearest to one of their own kind")
