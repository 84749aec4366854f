"""The cache keeps what was asked for last, up to its bytes."""

from medino.data.cache import ByteCache


def test_what_was_asked_for_longest_ago_goes_first() -> None:
    made: list[str] = []
    cache: ByteCache[str] = ByteCache(limit=10)

    def ask(key: str) -> str:
        return cache.get(key, lambda: made.append(key) or key * 4, len)  # type: ignore[func-returns-value]

    for key in "abab":
        assert ask(key) == key * 4
    ask("a")
    ask("c")  # twelve bytes: b goes
    ask("a")
    ask("b")
    assert made == ["a", "b", "c", "b"]


def test_a_value_larger_than_the_cache_is_kept_alone() -> None:
    made: list[int] = []
    cache: ByteCache[bytes] = ByteCache(limit=10)
    for key in (1, 2, 2, 2, 1):
        cache.get(key, lambda key=key: made.append(key) or bytes(20), len)  # type: ignore[func-returns-value, misc]
    assert made == [1, 2, 1]
