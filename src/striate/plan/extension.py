"""The extension module, where it was built: what modules of the native engine import it from.

Raises:   MissingDependencyError when it was not built, as soon as a module that needs it is imported.
"""

from __future__ import annotations

from ..errors import MissingDependencyError

try:
    from . import _native as schema
except ImportError:
    raise MissingDependencyError(
        "its extension, which was not built", "the native engine",
        remedy='install a C++20 compiler (g++ 11 or clang++ 14, or newer) and Striate again, or use engine="reference".',
    ) from None  # fmt: skip

__all__ = ["schema"]
