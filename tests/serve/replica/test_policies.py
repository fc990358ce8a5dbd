import pytest

from serve.engine.batch_engine import BatchEngine
from serve.engine.step_engine import StepEngine
from serve.replica.policies import engine_for
from serve.settings import Policy, Settings
from tests.serve.fakes import Clock, FakeModel


@pytest.mark.parametrize(
    ("policy", "kind"), [("none", BatchEngine), ("request", BatchEngine), ("step", StepEngine)]
)
def test_each_policy_has_its_engine(policy: Policy, kind: type) -> None:
    clock = Clock()
    engine = engine_for(Settings(policy=policy), FakeModel(clock), clock=clock)
    assert isinstance(engine, kind)
    assert (engine.waiting, engine.failures_in_a_row) == (0, 0)
