"""A generator learns to draw threes that a judge takes for real ones (Goodfellow et al. 2014)."""

import numpy as np

import striate as st

train, _ = st.load_dataset("digits")
real = train.images[train.labels == 3].reshape(-1, 64).astype(np.float32) / 16
painter = [st.Linear(64), st.ReLU(), st.Linear(64), st.Sigmoid()]
draw = st.Model(st.Sequential(painter, input_shape=(16,)), seed=0)
judge = st.Model(st.Sequential([st.Linear(64), st.LeakyReLU(0.2), st.Linear(1)], input_shape=(64,)))
drawing, judging, rng = draw.session(), judge.session(), np.random.default_rng(0)


def slope(batch, target):
    """How the cross-entropy between the judge's verdict and the target changes with its score."""
    (scores,) = judging.forward(batch)
    return (1 / (1 + np.exp(-scores)) - target) / len(scores)


for _ in range(1000):
    (fake,) = drawing.forward(rng.standard_normal((32, 16), np.float32))
    judging.backward(slope(real[rng.integers(len(real), size=32)], 1.0))
    judging.backward(slope(fake, 0.0), accumulate=True)
    judging.step(st.Adam(0.0005, beta1=0.5))
    drawing.backward(judging.backward(slope(fake, 1.0)))  # through the judge, as if it had said "real"
    drawing.step(st.Adam(0.001, beta1=0.5))
picture = draw.predict(rng.standard_normal((1, 16), np.float32)).reshape(8, 8)
print("\n".join("".join(" .:*#"[int(4.99 * value)] * 2 for value in row) for row in picture))
