"""What was unpacked last, kept up to a number of bytes: small volumes all stay, a large one pushes the others out."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class ByteCache(Generic[T]):
    """Values by key, the least recently asked for dropped first. Each process has its own.

    Args:
        limit: most bytes that are kept. One value larger than that is kept alone, as its frames are often asked for
            one after the other.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._values: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T], size: Callable[[T], int]) -> T:
        """The value of `key`, made by `make` where it is not there; `size` says how many bytes it takes."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key][0]
        value = make()
        with self._lock:
            if key not in self._values:
                self._values[key] = (value, size(value))
                self._bytes += self._values[key][1]
                while self._bytes > self.limit and len(self._values) > 1:
                    _, (_, freed) = self._values.popitem(last=False)
                    self._bytes -= freed
        return value
