"""Student's t: how far a mean of few values may lie from what it estimates. Pure.

    P(|T| <= t; v) = 1 - I_x(v/2, 1/2),  x = v / (v + t^2)

with I the regularized incomplete beta function (Abramowitz and Stegun 26.7.1), here by its
continued fraction (26.5.8) with Lentz's method. The degrees of freedom v need not be whole, as
Satterthwaite's are not.
"""

import math

MOST_TERMS = 500
TINY = 1e-300
CLOSE = 1e-14


def t_within(t: float, degrees: float) -> float:
    """P(|T| <= t) of Student's t with `degrees` of freedom, which may be infinite."""
    if math.isinf(degrees):
        return math.erf(t / math.sqrt(2.0))
    return 1.0 - _incomplete_beta(degrees / 2.0, 0.5, degrees / (degrees + t * t))


def t_quantile(level: float, degrees: float) -> float:
    """The t with P(|T| <= t) = `level`: 12.71 for 0.95 and 1 degree, 1.96 for infinitely many.

    Raises:
        ValueError: a level outside (0, 1), or degrees not above 0.
    """
    if not 0.0 < level < 1.0 or not degrees > 0.0:
        raise ValueError(f"no t quantile at level {level} with {degrees} degrees of freedom")
    low, high = 0.0, 1.0
    while t_within(high, degrees) < level and high < 1e12:
        low, high = high, 2.0 * high
    for _ in range(200):  # bisection: halves the bracket to the last bit
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (middle, high) if t_within(middle, degrees) < level else (low, middle)
    return 0.5 * (low + high)


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """I_x(a, b); the continued fraction converges fast for x < (a + 1) / (a + b + 2)."""
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - _incomplete_beta(b, a, 1.0 - x)
    log_front = (
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
        + a * math.log(x) + b * math.log1p(-x)
    )  # fmt: skip
    return math.exp(log_front) * _fraction(a, b, x) / a


def _fraction(a: float, b: float, x: float) -> float:
    c, d = 1.0, 1.0 / (1.0 - (a + b) * x / (a + 1.0) or TINY)
    value = d
    for m in range(1, MOST_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 / (1.0 + term * d or TINY)
            c = 1.0 + term / c or TINY
            value *= c * d
        if abs(c * d - 1.0) < CLOSE:
            break
    return value
