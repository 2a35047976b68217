"""The price formula of the design in Python's own integers, written from its text: a line a random case, and what it must give.

    price_model.py COUNT SEED -> lines: prompt cached completion reasoning per_request minimum | in cached out reasoning | coefficient |
                                        commission_bps hold -> amount charged worker fee         (amount -1: refused as too large)
"""
import random
import sys
from fractions import Fraction
from math import ceil

MOST = 2**53 - 1


def amount(price, tokens, coefficient):
    prompt, cached, completion, reasoning, per_request, minimum = price
    t_in, t_cached, t_out, t_reasoning = tokens
    cost = Fraction((t_in - t_cached) * prompt + t_cached * cached + (t_out - t_reasoning) * completion + t_reasoning * reasoning, 10**6)
    return max(minimum, ceil(cost * Fraction(coefficient, 1000)) + per_request)


def some(rng, most):
    """Small, large and edge numbers alike."""
    n = rng.choice([0, 1, most, most - 1, rng.randint(0, most), rng.randint(0, 10 ** rng.randint(0, 18))])
    return max(0, min(n, most))


def main(count, seed):
    rng = random.Random(seed)
    for _ in range(count):
        price = [some(rng, MOST) for _ in range(6)] if rng.random() < 0.3 else [some(rng, 10**rng.randint(0, 12)) for _ in range(6)]
        price = [min(p, MOST) for p in price]
        t_in, t_out = some(rng, 10**rng.randint(0, 12)), some(rng, 10**rng.randint(0, 12))
        tokens = (t_in, some(rng, t_in), t_out, some(rng, t_out))
        coefficient, bps = some(rng, 10**rng.randint(0, 8)), some(rng, 10000)
        a = amount(price, tokens, coefficient)
        hold = some(rng, MOST)
        if a > MOST:
            charged = worker = fee = 0
            a = -1
        else:
            charged = min(a, hold)
            worker = charged * (10000 - bps) // 10000
            fee = charged - worker
        print(*price, *tokens, coefficient, bps, hold, a, charged, worker, fee)


main(int(sys.argv[1]), int(sys.argv[2]))
