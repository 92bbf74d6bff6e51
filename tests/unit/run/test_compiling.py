"""Machine code computes what the function does, and is kept, found again and looked at before it is loaded."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from milepost.errors import OptionsError
from milepost.run import compiling
from milepost.run.compiling import compiler_present, keep_compiled_code, recorded
from milepost.run.deterministic import same_bits_every_time
from milepost.run.recording import Recording

needs_compiler = pytest.mark.skipif(not compiler_present(), reason="needs a C++ compiler")


def compiled(function, examples, say):
    """Write a function out and compile it."""
    return compiling.compiled(recorded(function, examples), examples, say)


def normalized(x, y, mean, weight):
    """Multiply, drop out, and count what was seen in `mean`."""
    mean.mul_(0.5).add_(x.mean(0), alpha=0.5)
    return [nn.functional.dropout((x - mean) @ weight) + y, y]


def inputs(seed=0):
    """Make inputs of which two do not lie in memory one number after the other."""
    generator = torch.Generator().manual_seed(seed)
    wide = torch.randn((6, 8), generator=generator)[:, ::2][:, :3]
    same = torch.randn(1, generator=generator).expand(6).unsqueeze(1)
    return [wide, same, torch.zeros(3), torch.randn((2, 3), generator=generator).t()]


def nothing():
    pass


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Compile `normalized` into a cache of its own, once for all tests."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder))
        said = []
        compiled(normalized, [x.clone() for x in inputs()], lambda: said.append("compiling"))
        assert said == ["compiling"]
    return folder


@pytest.fixture
def found(cache, monkeypatch):
    """Use that cache, and refuse to compile anything else."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(cache))
    monkeypatch.setattr(compiling, "_compile", _refuse)
    return cache


class Compiling(Exception):
    pass


def _refuse(*given):
    raise Compiling


def library(folder):
    (path,) = (folder / "steps").glob("*.so")
    return path


@pytest.mark.slow
@needs_compiler
def test_code_that_is_there_is_not_compiled_again_and_computes_the_same(found):
    function = compiled(normalized, [x.clone() for x in inputs()], _refuse)
    drawn = []
    for seed in (0, 1):
        theirs, ours = inputs(seed), inputs(seed)
        first, second = function(ours)
        expected = (theirs[0] - theirs[2].mul_(0.5).add_(theirs[0].mean(0), alpha=0.5)) @ theirs[3] * 2 + theirs[1]
        kept = first != theirs[1]
        drawn.append(int(kept.sum()))
        torch.testing.assert_close(first[kept], expected[kept])
        torch.testing.assert_close(second, theirs[1])
        torch.testing.assert_close(ours[2], theirs[2])
    assert 0 < sum(drawn) < 24, "half of the results are dropped"


@pytest.mark.slow
@needs_compiler
def test_what_is_drawn_inside_follows_the_global_generator(found):
    function = compiled(normalized, [x.clone() for x in inputs()], _refuse)
    results = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        results.append(function(inputs())[0])
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.slow
@needs_compiler
def test_another_process_loads_it_without_the_compiler(found):
    program = (
        f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]\n"
        "import torch; torch.set_num_threads(%d)\n"
        "from test_compiling import compiled, normalized, inputs, _refuse\n"
        "compiled(normalized, [x.clone() for x in inputs()], _refuse)(inputs())\n"
        "sys.exit('torch._dynamo' in sys.modules or 'torch._inductor' in sys.modules)"
    ) % torch.get_num_threads()
    assert subprocess.run([sys.executable, "-c", program], env=dict(os.environ), check=False).returncode == 0


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_library_is_compiled_again(found, damage):
    path = library(found)
    whole = path.read_bytes()
    middle = len(whole) // 2
    damaged = {"flip": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :], "cut": whole[:middle]}
    path.unlink()  # a process may have the file in memory
    path.write_bytes(damaged.get(damage, b""))
    try:
        with pytest.raises(Compiling):
            compiled(normalized, [x.clone() for x in inputs()], nothing)
    finally:
        path.unlink()
        path.write_bytes(whole)


@pytest.mark.slow
@needs_compiler
def test_code_of_other_threads_torch_or_processors_is_not_taken(found, monkeypatch):
    for owner, name, value in (
        (torch, "get_num_threads", lambda: 77),
        (torch, "__version__", "0.0"),
        (compiling, "_processor", list),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, value)
            with pytest.raises(Compiling):
                compiled(normalized, [x.clone() for x in inputs()], nothing)


@pytest.mark.slow
@needs_compiler
def test_a_library_that_cant_be_loaded_is_compiled_again_and_then_named(found, monkeypatch):
    """It may have been compiled where there is another libc."""

    def refuse(*given):
        raise RuntimeError("failed to map segment from shared object")

    monkeypatch.setattr(torch._C._aoti, "AOTIModelContainerRunnerCpu", refuse)
    with pytest.raises(Compiling):
        compiled(normalized, [x.clone() for x in inputs()], nothing)
    made = library(found)
    monkeypatch.setattr(compiling, "_compile", lambda recording, examples, scratch: shutil.copy(made, scratch / "x.so"))
    with pytest.raises(OptionsError, match=r"could not load the compiled step .*\.so': failed to map.*compile: false"):
        compiled(normalized, [x.clone() for x in inputs()], nothing)


@pytest.mark.slow
@needs_compiler
def test_a_folder_that_is_thrown_away_while_it_is_used_is_made_again(found, tmp_path, monkeypatch):
    made = library(found)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))

    def throw_away(recording, examples, scratch):
        shutil.rmtree(tmp_path / "steps")
        return Path(shutil.copy(made, scratch / "x.so"))

    monkeypatch.setattr(compiling, "_compile", throw_away)
    compiled(normalized, [x.clone() for x in inputs()], nothing)
    assert library(tmp_path).read_bytes() == made.read_bytes()
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: iter([folder / "gone.so"]))
    monkeypatch.setattr(compiling, "_compile", _refuse)
    with pytest.raises(Compiling):
        compiled(normalized, [x.clone() for x in inputs()], nothing)


@pytest.mark.slow
@needs_compiler
def test_programs_that_somebody_else_may_have_written_are_not_run(found, monkeypatch):
    folder = found / "steps"
    folder.chmod(0o777)
    compiled(normalized, [x.clone() for x in inputs()], _refuse)
    assert folder.stat().st_mode & 0o777 == 0o700, "nobody else has business there"
    owner = os.geteuid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: owner + 1)
        with pytest.raises(OptionsError, match=rf"expected a folder of the user {owner + 1}, .* the user {owner},"):
            compiled(normalized, [x.clone() for x in inputs()], nothing)
        patch.setattr(compiling, "_make_room", nothing_of)
        with pytest.raises(Compiling):
            compiled(normalized, [x.clone() for x in inputs()], nothing)


def nothing_of(folder):
    pass


@pytest.mark.slow
@needs_compiler
def test_inputs_of_another_form_are_copied_or_refused_and_never_read_beyond_their_end(found):
    function = compiled(normalized, [x.clone() for x in inputs()], _refuse)
    plain = [x.contiguous() for x in inputs()]
    torch.testing.assert_close(function(plain)[1], inputs()[1])
    for number, other in ((2, torch.zeros(2)), (2, torch.zeros(3).double())):
        changed = [*plain[:number], other, *plain[number + 1 :]]
        with pytest.raises(
            ValueError, match=r"expected a tensor \(3,\) of torch.float32, found \([23],\) of torch.float"
        ):
            function(changed)


@pytest.mark.slow
@needs_compiler
def test_a_library_begins_with_the_same_constants_each_time(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))

    def total(x):
        found = torch.tensor(0.0)
        for part in x:
            found += part
        return [found * 1.0]

    function = compiled(total, [torch.zeros(3)], nothing)
    assert [function([torch.ones(3)])[0].item() for _ in range(3)] == [3.0] * 3


@pytest.mark.slow
@needs_compiler
def test_what_threads_add_up_is_the_same_every_time(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    generator = torch.Generator().manual_seed(0)
    given = [torch.randn(4000, 64, generator=generator), torch.randint(5, (4000,), generator=generator)]
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with same_bits_every_time(torch.device("cpu")):
            function = compiled(lambda x, rows: [torch.zeros(5, 64).index_add(0, rows, x)], given, nothing)
            results = {function(given)[0].numpy().tobytes() for _ in range(100)}
    finally:
        torch.set_num_threads(threads)
    assert len(results) == 1
    torch.testing.assert_close(function(given)[0], torch.zeros(5, 64).index_add(0, given[1], given[0]))


def test_settings_that_change_the_code_are_in_its_name(monkeypatch):
    found = {compiling._machine()}
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "7")
    assert {compiling._machine()} == found
    for variable in ("CXX", "TORCHINDUCTOR_MAX_AUTOTUNE"):
        with monkeypatch.context() as patch:
            patch.setenv(variable, "1")
            found.add(compiling._machine())
    with same_bits_every_time(torch.device("cpu")):
        found.add(compiling._machine())
    torch.set_default_dtype(torch.float64)
    try:
        found.add(compiling._machine())
    finally:
        torch.set_default_dtype(torch.float32)
    assert len(found) == 5


def test_the_compiler_is_the_one_that_torch_calls(monkeypatch, tmp_path):
    program = tmp_path / "my-compiler"
    program.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not compiler_present()
    monkeypatch.setenv("CXX", "my-compiler")
    assert compiler_present()


def test_what_torch_can_not_write_out_is_an_error_of_the_options():
    def broken(x):
        raise NotImplementedError("no such thing")

    with pytest.raises(OptionsError, match=r"found NotImplementedError: no such thing\. Set .*compile: false"):
        recorded(broken, [torch.ones(2)])


def test_a_cache_that_cant_be_written_to_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setattr(compiling, "_compile", _refuse)
    with pytest.raises(OptionsError, match=r"could not keep compiled code in '.*file/steps': .*compile: false"):
        compiled(normalized, [x.clone() for x in inputs()], nothing)


@pytest.mark.slow
@needs_compiler
def test_an_operation_that_torch_has_no_code_for_is_called(tmp_path, monkeypatch):
    """Its name stands in a file beside the library."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))

    @torch.library.custom_op("milepost_test::doubled", mutates_args=())
    def doubled(x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    doubled.register_fake(torch.empty_like)
    for _ in range(2):
        assert compiled(lambda x: [doubled(x) + 1], [torch.ones(3)], nothing)([torch.ones(3)])[0].tolist() == [3.0] * 3
        monkeypatch.setattr(compiling, "_compile", _refuse)
    assert library(tmp_path).with_suffix(".json").exists()
    library(tmp_path).with_suffix(".json").unlink()
    with pytest.raises(Compiling):
        compiled(lambda x: [doubled(x) + 1], [torch.ones(3)], nothing)


@pytest.mark.slow
@needs_compiler
def test_an_accelerators_way_computes_the_same(tmp_path, monkeypatch):
    """Through `torch.compile`, which this machine's processor can use as well."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    examples = [torch.ones(4, 3), torch.ones(3)]
    with torch.no_grad():
        function = compiling._just_in_time(Recording(lambda x, y: [(x * y).sum(1)], examples), examples)
        assert function([2 * examples[0], examples[1]])[0].tolist() == [6.0] * 4


def test_compiling_draws_no_random_numbers(monkeypatch):
    """A run compiles whenever it is started: that must not show in what is drawn afterwards."""

    def draw(*given):
        random.random(), np.random.rand(), torch.rand(())
        return Path("unused")

    monkeypatch.setattr(compiling, "_found", draw)
    monkeypatch.setattr(compiling, "_Library", lambda path, examples: None)
    after = []
    for compile_now in (False, True):
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        if compile_now:
            compiled(normalized, [x.clone() for x in inputs()], nothing)
        after.append((random.random(), np.random.rand(), float(torch.rand(()))))
    assert after[0] == after[1]


def test_compiled_code_is_kept_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    own = tmp_path / "milepost" / "compiled"
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    assert keep_compiled_code() == own
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(own)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/chosen")
    assert keep_compiled_code() == Path("/chosen")
    # torch writes its default there when anything asks for it
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", default_cache_dir())
    assert keep_compiled_code() == own
