"""A picture whose filters fire together as they do in another: the style loss of Gatys et al. 2016."""

import numpy as np

import striate as st

net = st.Sequential(
    [st.Conv2d(8, 3, padding=1), st.ReLU(), st.Conv2d(16, 3, padding=1), st.ReLU()], input_shape=(3, 32, 32)
)
session = st.Model(net, seed=0).session(outputs=("relu1", "relu2"))


def grams(maps):
    """Each layer's products of channels, averaged over places: (N, C, C)."""
    return [np.einsum("nchw,ndhw->ncd", y, y) / y[0, 0].size for y in maps]


rows, columns = np.mgrid[:32, :32]
style = np.stack([np.sin(rows), np.sin(rows + columns), np.cos(columns)])[None].astype(np.float32)
wanted = grams(session.forward(style, training=False))
picture = 0.1 * np.random.default_rng(0).standard_normal(style.shape).astype(np.float32)
for step in range(201):
    maps = session.forward(picture, training=False)
    apart = [own - other for own, other in zip(grams(maps), wanted, strict=True)]
    loss = sum(float((one**2).sum()) for one in apart)
    picture -= 0.02 * session.backward(
        [4 * np.einsum("ncd,ndhw->nchw", one, y) / y[0, 0].size for one, y in zip(apart, maps, strict=True)]
    )
    if step % 50 == 0:
        print(f"step {step}: {loss:.5f}")
