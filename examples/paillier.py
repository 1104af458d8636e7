"""Add up salaries that nobody may see: Paillier encryption, in batches on all cores.

Ciphertexts can be added without being decrypted. The clerks (tasks) hold the public key only: they encrypt the salaries and
add up the ciphertexts. The private key stays in the driver, which learns the sum and the mean and no single salary.
Needs the package `phe`.

    python examples/paillier.py
    python examples/paillier.py --people 500 --bits 2048
"""

from __future__ import annotations

import argparse
import random
import time
from typing import Any

import phe

import skate


@skate.remote
def encrypt(key: phe.PaillierPublicKey, salaries: list[int]) -> list[phe.EncryptedNumber]:
    return [key.encrypt(salary) for salary in salaries]


@skate.remote
def add(encrypted: list[phe.EncryptedNumber]) -> phe.EncryptedNumber:
    total = encrypted[0]
    for number in encrypted[1:]:
        total = total + number
    return total


def batches(items: list[int], size: int) -> list[list[int]]:
    return [items[i : i + size] for i in range(0, len(items), size)]


def encrypted_sum(key: Any, salaries: list[int], batch: int) -> phe.EncryptedNumber:
    """The ciphertext of the sum. What one task encrypts, the next adds up: it never comes to the driver."""
    partial = [add.remote(encrypt.remote(key, part)) for part in batches(salaries, batch)]
    return skate.get(add.remote(skate.get(partial)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Sum and mean of encrypted numbers.")
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--batch", type=int, default=10, help="numbers per task (default: %(default)s)")
    parser.add_argument("--bits", type=int, default=1024, help="length of the key (default: %(default)s)")
    options = parser.parse_args()
    if options.people < 1 or options.batch < 1:
        parser.error("--people and --batch must be at least 1")

    dice = random.Random(7)
    salaries = [dice.randrange(2_000, 12_000) for _ in range(options.people)]
    skate.init()
    public, private = phe.generate_paillier_keypair(n_length=options.bits)
    key = skate.put(public)
    begin = time.perf_counter()
    secret = encrypted_sum(key, salaries, options.batch)
    seconds = time.perf_counter() - begin
    total = private.decrypt(secret)
    mean = private.decrypt(secret / options.people)
    print(f"{options.people} encrypted salaries: sum {total:,}, mean {mean:,.2f}")
    print(f"{options.people / seconds:,.0f} numbers/s encrypted and added, {options.bits}-bit key")
    skate.shutdown()
    if total != sum(salaries) or abs(mean - sum(salaries) / options.people) > 1e-6:
        raise SystemExit(f"the decrypted sum is wrong: {total}, not {sum(salaries)}")


if __name__ == "__main__":
    main()
