"""Student's t: how far a mean of few values may lie from what it estimates. Pure; SciPy's home."""

from scipy.special import stdtr, stdtrit


def t_within(t: float, degrees: float) -> float:
    """P(|T| <= t) of Student's t with `degrees` of freedom, whole or not, or infinite."""
    return 1.0 - 2.0 * float(stdtr(degrees, -t))


def t_quantile(level: float, degrees: float) -> float:
    """The t with P(|T| <= t) = `level`: 12.71 for 0.95 and 1 degree, 1.96 for infinitely many.

    Raises:
        ValueError: a level outside (0, 1), or degrees not above 0.
    """
    if not 0.0 < level < 1.0 or not degrees > 0.0:
        raise ValueError(f"no t quantile at level {level} with {degrees} degrees of freedom")
    return float(stdtrit(degrees, 0.5 * (1.0 + level)))
