"""Check that a learner keeps the rules of its contract: for the tests of whoever writes one.

    from milepost.learning.conformance import check_learner

    def test_mine() -> None:
        check_learner(SPEC, buffer_size=20)

A learner that passes can be stopped and continued anywhere, on any domain that gives what it needs.
"""

from milepost.learning.conformance.checking import check_learner

__all__ = ["check_learner"]
