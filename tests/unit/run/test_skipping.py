"""What was left out is known to every later checkpoint."""

from milepost.run.skipping import Skip, SkippedSteps

SKIPS = (Skip(7, 7, 6, (1, 2)), Skip(12, 15, 12, (3,)))


def test_the_steps_of_every_skip_are_in_it_and_no_others():
    skipped = SkippedSteps(SKIPS)
    assert [step for step in range(20) if step in skipped] == [7, 12, 13, 14, 15]
    assert "7" not in skipped


def test_a_restored_list_is_the_saved_one():
    restored = SkippedSteps([Skip(1, 1, 0, ())])
    restored.load_state_dict(SkippedSteps(SKIPS).state_dict())
    assert restored.skips == SKIPS


def test_a_skip_says_what_happened():
    assert [str(skip) for skip in SKIPS] == ["step 7 (went back to step 6)", "steps 12 to 15 (went back to step 12)"]
