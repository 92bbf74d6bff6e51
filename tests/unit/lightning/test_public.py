"""What `milepost.lightning` promises, and that a configuration file can build it."""

import inspect

import milepost.lightning


def test_the_public_names_are_these() -> None:
    assert milepost.lightning.__all__ == ["ExactResume", "MilepostCheckpointIO", "ResumingTrainer", "load_module"]


def test_both_are_built_from_plain_keyword_arguments() -> None:
    for built in (milepost.lightning.ExactResume, milepost.lightning.MilepostCheckpointIO):
        parameters = inspect.signature(built).parameters.values()
        assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in parameters)
        assert all(isinstance(parameter.default, bool | str) for parameter in parameters)
        built()
