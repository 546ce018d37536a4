"""Files that appear whole or not at all, and files that one process at a time may use.

Promises: every file that Striate writes goes through write_file_whole: written beside its place, flushed to the
disk, renamed, and the folder flushed too; so a kill, a full disk or a power cut leaves the old file or the new one.
A symbolic link stays one, and what it points to is replaced; permission bits of a replaced file are kept; a pipe or a
device is written to as it is. What killed processes left behind is cleared by the next write in that folder.
Leaves out: logs that grow line by line (cli/folder.py); whether a file may be replaced at all (cli/output.py).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # a platform without it has no locks, and nothing is cleared there
    fcntl = None  # type: ignore[assignment]

from .errors import StriateError

# A name with a token is of this version, whose writer holds a lock on it; one without, of a version before locks.
_TEMPORARY = re.compile(r"\.(?:.*\.)?(?P<pid>\d{1,10})(?P<token>-[0-9a-f]{8})?\.writing")
_NO_LOCKS_HERE = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
_MOST_LINKS = 40


def write_file_whole(path: str | Path, content: bytes | str) -> Path:
    """Write a file atomically; text as UTF-8.

    Raises:   OSError, with the path that was asked for; a file that was there before is then whole.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_file_whole(folder + "/a.txt", "whole").read_text()
    'whole'
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        place = _place(path)
        if place is None:
            _pour(path, data)
        else:
            _replace(place, data)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None
    return Path(path)


def replaces(path: str | Path) -> bool:
    """Whether writing here would replace something: a file is there, and it is no pipe, device or open descriptor."""
    try:
        place = _place(path)
    except OSError:
        return True  # a folder, or a link that leads nowhere good
    return place is not None and place.exists()


def _place(path: str | Path) -> Path | None:
    """The path to rename onto, behind symbolic links; None for pipes, devices and what /dev/stdout leads to."""
    here = os.fspath(path)
    for _ in range(_MOST_LINKS):
        folder = os.path.realpath(os.path.dirname(here))
        here = os.path.join(folder, os.path.basename(here))
        if folder.startswith("/proc/") or folder == "/dev/fd":
            return None
        if not os.path.islink(here):
            break
        here = os.path.join(folder, os.readlink(here))
    else:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    try:
        mode = os.stat(here).st_mode
    except FileNotFoundError:
        return Path(here)
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    return Path(here) if stat.S_ISREG(mode) else None


def _pour(path: str | Path, data: bytes) -> None:
    """Into a pipe or device; appended where standard output is a file, so that nothing printed is lost."""
    with open(os.open(path, os.O_WRONLY | os.O_APPEND), "wb") as file:
        file.write(data)


def _replace(place: Path, data: bytes) -> None:
    before = os.stat(place) if place.exists() else None
    if before is not None and not os.access(place, os.W_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))  # a rename would not ask
    clear_temporaries(place.parent)
    descriptor, temporary = _temporary(place.parent)
    try:
        with open(descriptor, "wb") as file:
            if before is not None:
                os.chmod(temporary, stat.S_IMODE(before.st_mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()
            os.replace(temporary, place)  # while its lock is held, so that nobody clears it
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(place.parent)


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk; some file systems cannot, and need not."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# ── temporary files, and what is left of them ────────────────────────────────────────────────────


def _temporary(folder: Path) -> tuple[int, Path]:
    """A new file of this process, locked as long as its descriptor is open; its mode is the umask's."""
    while True:
        path = folder / f".{os.getpid()}-{os.urandom(4).hex()}.writing"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        if fcntl is None:
            return descriptor, path
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_at(descriptor, path):  # else it was cleared between the two lines above
            return descriptor, path
        os.close(descriptor)


def clear_temporaries(folder: Path) -> None:
    """Remove the temporary files of processes that are gone; those in use are locked, and stay."""
    if fcntl is None:
        return
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            found = _TEMPORARY.fullmatch(name)
            if found and (found["token"] or not _lives(int(found["pid"]))):
                with contextlib.suppress(OSError):
                    _clear(folder / name)


def _clear(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(descriptor, path):
            path.unlink()
    finally:
        os.close(descriptor)


def _lives(pid: int) -> bool:
    """Whether another process has this number."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return pid != os.getpid()


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


# ── locks ────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def held(path: Path, what: str, error: type[StriateError]) -> Iterator[None]:
    """Hold a lock file within the block; the kernel lets go of it however the process ends.

    Args:     path of the lock file, which is removed at the end; what it stands for, in the message.
    Raises:   error when another process (or thread) holds it, with its number; FileNotFoundError without a folder.
    Leaves out: platforms and file systems without flock; there nothing is held.
    """
    descriptor = _locked(path, what, error)
    try:
        yield
    finally:
        if fcntl is not None:  # removed first: whoever waits for this very file then sees that it is gone
            with contextlib.suppress(OSError):
                path.unlink()
        os.close(descriptor)


def _locked(path: Path, what: str, error: type[StriateError]) -> int:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            raise
        except OSError as failure:
            raise error(f"{what} cannot be used: {failure.strerror}: {path}.") from None
        if fcntl is None:
            return descriptor
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as failure:
            if failure.errno in _NO_LOCKS_HERE:
                return descriptor
            holder = _holder(descriptor)
            os.close(descriptor)
            raise error(f"{what} is in use by {holder}. Wait for it, end it, or name another.") from None
        if _is_at(descriptor, path):
            break
        os.close(descriptor)
    with contextlib.suppress(OSError):  # the number is only told to others
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _holder(descriptor: int) -> str:
    for _ in range(20):  # it may have the lock and not yet have said who it is
        told = os.pread(descriptor, 20, 0).strip()
        if told:
            return f"process {told.decode(errors='replace')}"
        time.sleep(0.01)
    return "another process"
