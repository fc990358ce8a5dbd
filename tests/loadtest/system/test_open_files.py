import numpy as np
import pytest

from loadtest.system import open_files


@pytest.mark.parametrize(
    ("times_s", "timeout_s", "most"),
    [
        ([0.0, 1.0, 2.0, 3.0], 2.0, 2),  # the one due at 0 has timed out when that at 2 leaves
        ([3.0, 0.0, 2.0, 1.0], 2.5, 3),
        ([5.0] * 7, 1.0, 7),
        ([], 1.0, 0),
    ],
)
def test_most_in_flight(times_s: list[float], timeout_s: float, most: int) -> None:
    assert open_files.most_in_flight(np.array(times_s), timeout_s) == most


def test_a_warning_names_both_figures_and_the_remedy() -> None:
    times_s = np.linspace(0.0, 10.0, 10_000, endpoint=False)  # 1,000/s, each up to 4.9995 s
    assert open_files.warning(times_s, 4.9995, 1, 6_000) is None
    assert open_files.warning(times_s, 4.9995, 2, 3_000) is None
    said = open_files.warning(times_s, 4.9995, 1, 1_024)
    assert said is not None
    assert "up to 5,000 requests" in said
    assert "1,024 files" in said
    assert "ulimit -Hn" in said
