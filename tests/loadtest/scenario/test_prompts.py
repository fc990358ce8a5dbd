from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.errors import ScenarioError
from loadtest.scenario.prompts import (
    MAX_CHARS,
    TEXTS,
    Lengths,
    PromptMix,
    chance,
    first_asked,
    load_texts,
    negative_at,
    prompt_at,
)
from loadtest.scenario.scenario import parse_scenario

TWO = ["a harbour at dusk", "an owl"]


def test_without_a_mix_texts_take_turns() -> None:
    assert [prompt_at(TWO, PromptMix(), 1, seq) for seq in range(3)] == [TWO[0], TWO[1], TWO[0]]


def test_chance_is_uniform_and_depends_on_every_number_of_its_path() -> None:
    draws = np.array([chance(5, 0, k) for k in range(20_000)])
    counts = np.histogram(draws, bins=20, range=(0, 1))[0]
    # chi-square of 20 cells: mean 19, standard deviation √38; five of them above
    assert ((counts - 1000) ** 2 / 1000).sum() < 19 + 5 * np.sqrt(38)
    assert np.corrcoef(draws[:-1], draws[1:])[0, 1] == pytest.approx(0, abs=5 / np.sqrt(20_000))
    assert len({chance(5, 0, 1), chance(6, 0, 1), chance(5, 1, 1), chance(5, 1, 0)}) == 4


def test_chance_is_the_same_on_every_machine() -> None:
    assert chance(1, 2, 3) == 0.05816240739533696


@pytest.mark.parametrize("repeats", [0.0, 0.3, 0.9])
def test_the_share_of_repeats_is_what_an_endless_cache_would_hit(repeats: float) -> None:
    count = 20_000
    seen: set[str] = set()
    hits = 0
    for seq in range(count):
        prompt = prompt_at(TWO, PromptMix(repeats=repeats), 3, seq)
        hits += prompt in seen
        seen.add(prompt)
    # binomial, five standard deviations
    assert hits / count == pytest.approx(
        repeats, abs=5 * np.sqrt(repeats * (1 - repeats) / count) + 1e-9
    )


def test_some_prompts_grow_popular() -> None:
    # Simon's model: the share asked k times falls as a power; uniform repeats would not reach this
    roots = [first_asked(0.8, 1, seq) for seq in range(20_000)]
    assert np.bincount(roots).max() > 200
    assert {first_asked(1.0, 1, seq) for seq in range(1000)} == {0}


@given(
    st.integers(0, 2**63 - 1),
    st.integers(0, 10**7),
    st.one_of(st.none(), st.integers(1, MAX_CHARS)),
    st.one_of(st.none(), st.floats(0, 1)),
)
@settings(max_examples=200, deadline=None)
def test_prompts_are_bounded_never_empty_and_a_function_of_seed_and_index(
    seed: int, seq: int, chars: int | None, repeats: float | None
) -> None:
    mix = PromptMix(repeats=repeats)
    prompt = prompt_at(TWO, mix, seed, seq, chars)
    assert prompt.strip()
    assert prompt == prompt_at(TWO, mix, seed, seq, chars)
    if chars is not None:
        assert len(prompt) == chars


def test_lengths_have_their_quantiles() -> None:
    lengths = Lengths(median=80, p90=300, most=1000)
    mix = PromptMix(chars=lengths)
    drawn = np.array([len(prompt_at(TWO, mix, 1, seq)) for seq in range(10_000)])
    # the share below a quantile has a standard error of √(q(1 - q)/n)
    assert np.mean(drawn <= 80) == pytest.approx(0.5, abs=0.025)
    assert np.mean(drawn <= 300) == pytest.approx(0.9, abs=0.015)
    assert (drawn.min() >= 1, drawn.max()) == (True, 1000)
    assert lengths.at(0.0) == 1
    assert {len(prompt_at(TWO, PromptMix(chars=8), 1, seq)) for seq in range(9)} == {8}


def test_a_repeated_prompt_has_its_first_length() -> None:
    mix = PromptMix(repeats=0.5, chars=Lengths(median=80, p90=300))
    for seq in range(300):
        first = first_asked(0.5, 1, seq)
        assert prompt_at(TWO, mix, 1, seq) == prompt_at(TWO, mix, 1, first)


def test_negative_prompts_go_along_with_their_share() -> None:
    mix = PromptMix(negative=("blurry", "text"), negative_share=0.25)
    drawn = [negative_at(mix, 1, seq) for seq in range(10_000)]
    assert drawn.count(None) / 10_000 == pytest.approx(0.75, abs=0.022)  # five standard errors
    assert drawn.count("blurry") == pytest.approx(drawn.count("text"), abs=250)
    assert negative_at(PromptMix(), 1, 0) is None


@pytest.mark.parametrize(
    ("name", "text", "options", "texts"),
    [
        ("p.txt", "an owl\n\n  a harbour \n", {}, ["an owl", "a harbour"]),
        ("p.csv", 'prompt,n\n"an owl, white",1\nb,2\n', {}, ["an owl, white", "b"]),
        ("p.csv", "p,n\na,1\na,2\nb,3\n", {"column": "p"}, ["a", "a", "b"]),
        ("p.jsonl", '{"prompt": "a"}\n{"prompt": "b"}\n', {}, ["a", "b"]),
    ],
)
def test_prompts_come_from_a_file(
    tmp_path: Path, name: str, text: str, options: dict[str, Any], texts: list[str]
) -> None:
    (tmp_path / name).write_text(text)
    assert load_texts(PromptMix(file=name, **options), tmp_path) == texts


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.txt", None, "cannot read"),
        ("p.txt", "\n \n", "holds 0 prompts; 1 to 100,000 can be"),
        ("p.txt", "a\n" * 100_001, "holds 100,001 prompts"),
        ("p.txt", "a" * 16_000_001, "is larger than 16 MB; cut it"),
        ("p.csv", "text,n\na,1\n", "has no column 'prompt'"),
        ("p.csv", "prompt,n\na,1\n,2\n", "row 3, column 'prompt': nothing is no word"),
    ],
)
def test_what_a_file_cannot_be_is_said(
    tmp_path: Path, name: str, text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ScenarioError) as caught:
        load_texts(PromptMix(file=name), tmp_path)
    assert "$.request.prompts.file" in str(caught.value)
    assert said in str(caught.value)


SCENARIO = """
name = "t"
title = "T"
[curve]
kind = "constant"
rate_per_s = 1
duration = "9s"
[request]
prompts = {prompts}
"""


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        ("[]", "Expected `array` of length >= 1"),
        ("{ repeats = 1.5 }", "<= 1.0 at `$.request.prompts.repeats`"),
        ("{ repeat = 0.5 }", 'did you mean "repeats"?'),
        ("{ chars = 0 }", ">= 1 at `$.request.prompts.chars`"),
        ("{ chars = { median = 80, p90 = 20 } }", "p90: expected at least the median"),
        ("{ negative_share = -1 }", ">= 0.0 at `$.request.prompts.negative_share`"),
        ("{ texts = ['a'], file = 'p.txt' }", "give texts or file, not both"),
        ("{ texts = ['a', ' '] }", "a prompt is empty"),
    ],
)
def test_impossible_mixes_are_refused(prompts: str, said: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(SCENARIO.format(prompts=prompts))
    assert said in str(caught.value)


def test_a_mix_is_read_and_said() -> None:
    text = (
        "{ repeats = 0.3, chars = { median = 80, p90 = 300 }, "
        "negative = ['blurry'], negative_share = 0.5 }"
    )
    mix = parse_scenario(SCENARIO.format(prompts=text)).request.prompts
    assert isinstance(mix, PromptMix)
    assert load_texts(mix, Path()) == list(TEXTS)
    assert mix.words == (
        "built-in texts, 30% repeat an earlier one, 80 characters (median), p90 300, "
        "50% with a negative prompt"
    )
