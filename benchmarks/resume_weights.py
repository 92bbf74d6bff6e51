"""Turn the weights in a program's checkpoint into a NumPy file, in that program's own interpreter.

    PYTHON benchmarks/resume_weights.py KIND CHECKPOINT OUT.npz

KIND is `milepost`, or for files that torch writes `state_dict` (Lightning, NequIP) or `model_state_dict` (metatrain).
Raw weights and, where there are any, averaged ones; no state of the optimizer. Such files are unpickled: give this none
that the benchmark did not make itself.
"""

import sys
from typing import Any

import numpy as np
import torch


def weights(kind: str, path: str) -> dict[str, Any]:
    """Read all tensors of the model and of its average, by name."""
    if kind == "milepost":
        from milepost.checkpoint import load_checkpoint

        with load_checkpoint(path) as checkpoint:
            parts = [name for name in ("model", "ema") if name in checkpoint.components]
            return {f"{part}.{name}": t for part in parts for name, t in checkpoint.state(part).items()}
    if kind == "model_state_dict":
        import metatomic.torch  # noqa: F401 - metatrain's files hold objects of its classes
    state = torch.load(path, map_location="cpu", weights_only=False)[kind]  # a peer's own file, of this very run
    return {name: t for name, t in state.items() if kind != "state_dict" or name.startswith(("model.", "ema."))}


def main() -> None:
    """Write the floating-point tensors."""
    kind, path, out = sys.argv[1:]
    found = {
        n: t.detach().numpy() for n, t in weights(kind, path).items() if torch.is_tensor(t) and t.is_floating_point()
    }
    np.savez(out, **found)


if __name__ == "__main__":
    main()
