"""Count words: mappers count their page and sort the counts into bins, reducers merge one bin each.

A mapper returns one object per reducer (`num_returns`), so that every reducer fetches its own bins only and no count passes
through the driver before the end.

    python examples/map_reduce.py
    python examples/map_reduce.py --pages 100 --words 50000
"""

from __future__ import annotations

import argparse
import random
import zlib
from collections import Counter
from typing import Any

import skate

SYLLABLES = ("ba", "ce", "di", "fo", "gu", "ka", "le", "mi", "no", "ru")


def write_page(number: int, words: int) -> str:
    """A page of made-up words; the same number gives the same page. Short words are common, as in a language."""
    dice = random.Random(number)
    return " ".join("".join(dice.choices(SYLLABLES, k=min(1 + int(dice.expovariate(1.2)), 4))) for _ in range(words))


@skate.remote
def count_page(number: int, words: int, bins: int) -> list[Counter[str]]:
    """The counts of one page, each word in the bin that its checksum says (`hash` differs between processes)."""
    sorted_counts: list[Counter[str]] = [Counter() for _ in range(bins)]
    for word, count in Counter(write_page(number, words).split()).items():
        sorted_counts[zlib.crc32(word.encode()) % bins][word] = count
    return sorted_counts


@skate.remote
def merge(*counts: Counter[str]) -> Counter[str]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description="Word count by map and reduce.")
    parser.add_argument("--pages", type=int, default=40)
    parser.add_argument("--words", type=int, default=20_000, help="per page (default: %(default)s)")
    parser.add_argument("--reducers", type=int, default=4)
    options = parser.parse_args()
    if min(options.pages, options.words) < 1 or options.reducers < 2:
        parser.error("at least one page, one word and two reducers are needed")

    skate.init()
    mapper = count_page.options(num_returns=options.reducers)
    mapped: list[Any] = [mapper.remote(page, options.words, options.reducers) for page in range(options.pages)]
    merged = skate.get([merge.remote(*(bins[i] for bins in mapped)) for i in range(options.reducers)])
    counts: Counter[str] = Counter()
    for part in merged:
        counts.update(part)
    for word, count in counts.most_common(5):
        print(f"{word:<10} {count:>10,}")
    total = sum(counts.values())
    print(f"{total:,} words, {len(counts):,} different, on {options.pages} pages")
    skate.shutdown()

    check = Counter(write_page(0, options.words).split()) - counts
    if total != options.pages * options.words or sum(map(len, merged)) != len(counts) or check:
        raise SystemExit(f"words were lost or counted twice: {total}, not {options.pages * options.words}")


if __name__ == "__main__":
    main()
