"""Counter-based random numbers: any draw can be computed without the draws before it.

Promises: Philox4x32-10, bit for bit as published, so that shuffling, augmentation, dropout and
initialization at step n depend on (seed, purpose, epoch, index) alone. That is why a resumed run is
exact, and why a second engine can draw the same numbers in another language.
Leaves out: streams, global state, cryptography.
Source: Salmon, Moraes, Dror & Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.

Layout of a draw (all 32-bit words): key = (seed low, seed high); counter = (block, index, epoch, purpose).
One counter gives four words; element j of a draw is word j mod 4 of block j div 4.
"""

from __future__ import annotations

from enum import IntEnum
from operator import index
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import OptionError
from .foreign import brief

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_ROUNDS = 10


class Purpose(IntEnum):
    """What a draw is for; the low byte of the counter's last word (layers use the bytes above)."""

    INITIALIZE = 1
    SHUFFLE = 2
    SHIFT = 3
    FLIP = 4
    BRIGHTNESS = 5
    CONTRAST = 6
    DROPOUT = 7
    SPLIT = 8
    AUGMENT = 9


def checked_seed(value: Any) -> int:
    """A seed as an int: any of the 64 bits of a key; OptionError otherwise.

    >>> checked_seed(2**64 - 1)
    18446744073709551615
    """
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        seed = index(value)
    except TypeError:
        raise OptionError(f"seed must be a whole number, got {brief(value)}.") from None
    if not 0 <= seed < 1 << 64:
        raise OptionError(f"seed must be from 0 to 2⁶⁴ − 1, got {brief(seed)}.")
    return seed


def philox(counter: npt.NDArray[np.uint32], key: tuple[int, int]) -> npt.NDArray[np.uint32]:
    """Philox4x32-10 of each counter.

    Args:     counter (..., 4) uint32; key two 32-bit words.
    Returns:  (..., 4) uint32.
    Cost:     10 rounds of two 32×32→64 multiplications a counter.

    >>> [f"{word:08x}" for word in philox(np.zeros(4, np.uint32), (0, 0))]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    words = [counter[..., i].astype(np.uint64) for i in range(4)]
    low, high = key
    for _ in range(_ROUNDS):
        first, second = words[0] * _MULTIPLIERS[0], words[2] * _MULTIPLIERS[1]
        words = [
            (second >> _SHIFT) ^ words[1] ^ np.uint64(low),
            second & _LOW,
            (first >> _SHIFT) ^ words[3] ^ np.uint64(high),
            first & _LOW,
        ]
        low, high = (low + _WEYL[0]) & 0xFFFFFFFF, (high + _WEYL[1]) & 0xFFFFFFFF
    return np.stack(words, axis=-1).astype(np.uint32)


def bits(
    seed: int, purpose: int, epoch: int, indices: npt.NDArray[Any], count: int, *, first_block: int = 0
) -> npt.NDArray[np.uint32]:
    """`count` random words for each index.

    Args:     seed 0…2⁶⁴−1; purpose and epoch 32-bit; indices (n,) 32-bit; first_block, of four words each.
    Returns:  (n, count) uint32.
    """
    blocks = -(-count // 4)
    counter = np.empty((len(indices), blocks, 4), np.uint32)
    counter[..., 0] = np.arange(first_block, first_block + blocks, dtype=np.uint32)
    counter[..., 1] = np.asarray(indices, np.uint32)[:, None]
    counter[..., 2] = np.uint32(epoch & 0xFFFFFFFF)
    counter[..., 3] = np.uint32(int(purpose) & 0xFFFFFFFF)
    words = philox(counter, (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF))
    return words.reshape(len(indices), blocks * 4)[:, :count]


def uniform(
    seed: int, purpose: int, epoch: int, indices: npt.NDArray[Any], count: int, *, first_block: int = 0
) -> npt.NDArray[np.float32]:
    """`count` float32 in [0, 1) for each index: the top 24 bits of a word times 2⁻²⁴, exactly."""
    words = bits(seed, purpose, epoch, indices, count, first_block=first_block) >> np.uint32(8)
    return words.astype(np.float32) * np.float32(2.0**-24)


def normal(seed: int, purpose: int, epoch: int, index: int, count: int) -> npt.NDArray[np.float64]:
    """`count` standard normal float64 (Box–Muller over pairs of words)."""
    pairs = -(-count // 2)
    words = bits(seed, purpose, epoch, np.array([index]), 2 * pairs)[0].astype(np.float64)
    radius = np.sqrt(-2.0 * np.log((words[0::2] + 1.0) * 2.0**-32))
    angle = 2.0 * np.pi * words[1::2] * 2.0**-32
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1).ravel()[:count]


def permutation(seed: int, purpose: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    """0…count−1 in random order: the stable order of one 64-bit random key each."""
    words = bits(seed, purpose, epoch, np.arange(count), 2).astype(np.uint64)
    return np.argsort((words[:, 0] << _SHIFT) | words[:, 1], kind="stable").astype(np.int64)
