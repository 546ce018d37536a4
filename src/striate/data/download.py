"""Fetch a file: resumable, checked, and never half there.

Promises: a broken transfer leaves NAME.part and the next call goes on from it; a file takes its final name
only when its checksum is right. Leaves out: deciding to fetch. Nothing calls this but `striate data fetch` and `striate zoo get`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from ..errors import DownloadError
from ..files import sync_folder

_CHUNK_BYTES = 1 << 16
_TIMEOUT_SECONDS = 30.0
_NOTHING_LEFT = 416
_SHA256_DIGITS = 64


def md5_of(path: Path) -> str:
    """MD5 of a file, in hexadecimal (the checksum that the data sets publish)."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _checksum(path: Path, expected: str) -> tuple[str, str]:
    """A file's checksum of the kind that is expected, in hexadecimal, and the kind's name."""
    if len(expected) != _SHA256_DIGITS:
        return md5_of(path), "MD5"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), "SHA-256"


def fetch(
    url: str, target: Path, checksum: str, progress: Callable[[int, int | None], None] | None = None
) -> Path:
    """Download `url` to `target` unless it is there already.

    Args:     checksum, MD5 or SHA-256 in hexadecimal; progress(bytes so far, bytes in all or None) is called after each chunk.
    Raises:   DownloadError when the transfer breaks off (what came stays, for the next try) or the
              checksum is wrong (what came is removed).
    """
    if target.exists() and _checksum(target, checksum)[0] == checksum:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    try:
        _transfer(url, part, progress)
    except (URLError, OSError) as error:
        have = part.stat().st_size if part.exists() else 0
        raise DownloadError(
            f"{url}: {getattr(error, 'reason', error)}. {have:,} bytes are kept in {part}; "
            "run the same command again to go on from there."
        ) from None
    found, kind = _checksum(part, checksum)
    if found != checksum:
        part.unlink()
        raise DownloadError(
            f"{url}: the {kind} is {found}, expected {checksum}. What came was removed; try again."
        )
    os.replace(part, target)
    sync_folder(target.parent)
    return target


def _transfer(url: str, part: Path, progress: Callable[[int, int | None], None] | None) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urlopen(request, timeout=_TIMEOUT_SECONDS)
    except HTTPError as error:
        if error.code == _NOTHING_LEFT and have:
            return
        raise
    with response:
        resumed = response.status == 206
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with part.open("ab" if resumed else "wb") as file:
            while chunk := response.read(_CHUNK_BYTES):
                file.write(chunk)
                have += len(chunk)
                if progress:
                    progress(have, total)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and have < total:
        raise OSError(f"the transfer broke off after {have:,} of {total:,} bytes")
