"""The arena: all shared memory of a node, as one sparse memfd.

The node makes it and hands the descriptor to its processes; each maps it twice, read-only for what others wrote and
writable for what it writes itself. Mapping costs nothing until pages are touched, so there is one descriptor, one mapping
and no bookkeeping of segments. There is no file to leave behind, and no /dev/shm size to run into.

It has more addresses than the store may have memory, so that memory in small pieces is of use for a large block: `space.py`.

Pages are reserved with `posix_fallocate` by the process that is about to write them: running out of memory is an
error there, and never a SIGBUS later.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import threading

PAGE = mmap.PAGESIZE
ALIGN = 64
PROGRESS_SLOTS = 1 << 14
HEADER_BYTES = PROGRESS_SLOTS * 8
"""The arena begins with a number for each worker; see `Arena.progress`."""
ADDRESSES = 4
"""There are so many times as many addresses as memory."""
PARALLEL_COPY_BYTES = 8 << 20
"""From here on two threads copy: one alone does not saturate the memory bus."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
_KEEP_SIZE_PUNCH_HOLE = 0x01 | 0x02


class _PyBuffer(ctypes.Structure):
    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


def release(fd: int, offset: int, size: int) -> None:
    """Give the memory of whole pages inside a range back to the machine."""
    start = -(-offset // PAGE) * PAGE
    end = (offset + size) // PAGE * PAGE
    if end > start and _libc.fallocate(fd, _KEEP_SIZE_PUNCH_HOLE, start, end - start):
        raise OSError(ctypes.get_errno(), "cannot release memory of the object store")


def create(size: int) -> int:
    """A new arena's descriptor, for a store of `size` bytes: only addresses, no memory yet."""
    fd = os.memfd_create("skate-arena", os.MFD_CLOEXEC)
    os.ftruncate(fd, ADDRESSES * size)
    os.posix_fallocate(fd, 0, HEADER_BYTES)
    return fd


class Arena:
    """The arena of a store of `size` bytes, as one process sees it."""

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.mapped = ADDRESSES * size
        self._read = 0
        self._write: mmap.mmap | None = None
        self._write_at = 0
        self._lock = threading.Lock()

    def _map_read(self) -> int:
        with self._lock:
            if not self._read:
                at = _libc.mmap(None, self.mapped, mmap.PROT_READ, mmap.MAP_SHARED, self.fd, 0)
                if at in (None, ctypes.c_void_p(-1).value):
                    raise OSError(ctypes.get_errno(), "cannot map the object store")
                self._read = at
        return self._read

    def _map_write(self) -> mmap.mmap:
        with self._lock:
            if self._write is None:
                self._write = mmap.mmap(self.fd, self.mapped)
                self._write_at = ctypes.addressof(ctypes.c_char.from_buffer(self._write))
        return self._write

    def progress(self, worker: int) -> memoryview:
        """One number that a worker leaves for whoever asks after its death: the task that it was running."""
        at = worker % PROGRESS_SLOTS * 8
        return memoryview(self._map_write())[at : at + 8].cast("Q")

    def reserve(self, offset: int, size: int) -> None:
        """Back a range with memory.

        Raises:
            OSError: the machine has no memory for it.
        """
        os.posix_fallocate(self.fd, offset, size)

    def writable(self, offset: int, size: int) -> memoryview:
        """A view to write through. Only for ranges that this process was given."""
        return memoryview(self._map_write())[offset : offset + size]

    def exporter(self, offset: int, size: int, mine: bool) -> ctypes.Array[ctypes.c_char]:
        """An object over the range that every view of it keeps alive, so that its end is the end of the last view.

        `mine`: this process wrote the range; its pages are mapped here already, so reading faults nothing in.
        """
        if mine:
            self._map_write()
            base = self._write_at
        else:
            base = self._read or self._map_read()
        return (ctypes.c_char * size).from_address(base + offset)

    def copy_in(self, offset: int, source: memoryview) -> None:
        """Copy bytes to `offset`, with two threads when it pays."""
        size = source.nbytes
        if size < PARALLEL_COPY_BYTES:
            memoryview(self._map_write())[offset : offset + size] = source
            return
        self._map_write()
        with _Address(source) as at:
            half = size // 2 // PAGE * PAGE
            to = self._write_at + offset
            other = threading.Thread(target=ctypes.memmove, args=(to + half, at + half, size - half))
            other.start()
            interrupted: BaseException | None = None
            try:
                ctypes.memmove(to, at, half)
            finally:
                while other.is_alive():  # an interrupt must not let go of the source before the other thread has
                    try:
                        other.join()
                    except BaseException as error:
                        interrupted = error
            if interrupted is not None:
                raise interrupted

    def close(self, unmap: bool) -> None:
        """Close the descriptor; with `unmap` the mappings too, which no view may use any more."""
        os.close(self.fd)
        if not unmap:
            return
        if self._read:
            _libc.munmap(self._read, self.mapped)
            self._read = 0
        if self._write is not None:
            self._write.close()
            self._write = None


class _Address:
    """The address of a contiguous buffer, valid inside the `with`."""

    def __init__(self, buffer: memoryview) -> None:
        self._buffer = buffer
        self._raw = _PyBuffer()

    def __enter__(self) -> int:
        ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(self._buffer), ctypes.byref(self._raw), 0)
        return self._raw.buf or 0

    def __exit__(self, *_: object) -> None:
        ctypes.pythonapi.PyBuffer_Release(ctypes.byref(self._raw))
