"""Makes torch_trajectories.npz: what PyTorch's optimizers and timm's layer decay do, in float64.

    python tests/data/make_torch_trajectories.py        (needs torch, timm and numpy; the tests need neither)

A network of four layers trains on 200 batches. Layers are thawed on the way, as new parameter groups of
the same optimizer, each with its own learning rate; frozen ones have no gradient, so that PyTorch leaves
them and their step counts alone.
"""

from pathlib import Path

import numpy as np
import torch
from timm.optim import param_groups_layer_decay

torch.set_default_dtype(torch.float64)
STEPS, BATCH, SIZES = 200, 8, (5, 8, 8, 8, 3)
LAYERS = ("stem", "block_1", "block_2", "head")
FACTORS = {"stem": 0.125, "block_1": 0.25, "block_2": 0.5, "head": 1.0}
CHECKPOINTS = (1, 50, 51, 101, 151, 200)
# the lowest layer that trains, from each step on
SCHEDULES = {
    "thaws": {0: 3, 50: 2, 100: 1, 150: 0},
    "refreezes": {0: 3, 50: 0, 100: 2, 150: 0},
}
# Keras adds epsilon before it corrects Adam's bias and PyTorch after it, so it is made too small to matter.
# Keras rounds betas, momentum and rates to float32, whatever the dtype of weights: these are exact in it.
BETAS = (0.875, 1 - 2**-10)
OPTIMIZERS = {
    "adam": lambda g: torch.optim.Adam(g, betas=BETAS, eps=1e-14),
    "adamw": lambda g: torch.optim.AdamW(g, betas=BETAS, weight_decay=0.125, eps=1e-14),
    "sgd": lambda g: torch.optim.SGD(g, lr=0.0),
    # Keras folds the rate into the velocity and PyTorch does not: the same while a group's rate is constant.
    "momentum": lambda g: torch.optim.SGD(g, lr=0.0, momentum=0.875),
    "nesterov": lambda g: torch.optim.SGD(g, lr=0.0, momentum=0.875, nesterov=True),
}
RATES = {"adam": 2**-7, "adamw": 2**-7, "sgd": 2**-3, "momentum": 2**-6, "nesterov": 2**-6}


def forward(parameters, x):
    """tanh layers, then a linear one."""
    for i, name in enumerate(LAYERS):
        weight, bias = parameters[name]
        x = x @ weight + bias
        x = torch.tanh(x) if i < 3 else x
    return x


def main():
    """Write the file."""
    rng = np.random.default_rng(0)
    stored = {
        "x": rng.normal(size=(STEPS, BATCH, SIZES[0])),
        "y": rng.normal(size=(STEPS, BATCH, SIZES[-1])),
        "checkpoints": np.array(CHECKPOINTS),
    }
    for name, rows, columns in zip(LAYERS, SIZES, SIZES[1:]):
        stored[f"start/{name}/kernel"] = rng.normal(size=(rows, columns)) / np.sqrt(rows)
        stored[f"start/{name}/bias"] = rng.normal(size=columns) * 0.1
    for name in ("x", "y"):  # so is what Keras's losses are given
        stored[name] = stored[name].astype("float32").astype("float64")
    x, y = torch.tensor(stored["x"]), torch.tensor(stored["y"])
    for kind, make in OPTIMIZERS.items():
        for plan, lowest in SCHEDULES.items():
            parameters = {
                n: [torch.tensor(stored[f"start/{n}/{k}"], requires_grad=True) for k in ("kernel", "bias")]
                for n in LAYERS
            }
            optimizer, known, first = None, set(), None
            for step in range(STEPS):
                first = lowest.get(step, first)
                for i, name in enumerate(LAYERS):
                    for parameter in parameters[name]:
                        parameter.requires_grad_(i >= first)
                        parameter.grad = None
                    if i >= first and name not in known:
                        known.add(name)
                        group = {"params": parameters[name], "lr": RATES[kind] * FACTORS[name]}
                        if optimizer is None:
                            optimizer = make([group])
                        else:
                            optimizer.add_param_group(group)
                ((forward(parameters, x[step]) - y[step]) ** 2).mean().backward()
                optimizer.step()
                if step + 1 in CHECKPOINTS:
                    for name in LAYERS:
                        for k, parameter in zip(("kernel", "bias"), parameters[name]):
                            stored[f"{kind}/{plan}/{step + 1}/{name}/{k}"] = parameter.detach().numpy().copy()

    class Network(torch.nn.Module):
        """Layers in timm's order, one group each, the head last."""

        def __init__(self, count):
            super().__init__()
            for i in range(count):
                setattr(self, f"layer_{i}", torch.nn.Linear(2, 2))

        def group_matcher(self, coarse=False):
            return {"blocks": r"^layer_(\d+)"}

    for count, decay in ((3, 0.65), (4, 0.8), (12, 0.75)):
        groups = param_groups_layer_decay(Network(count), layer_decay=decay)
        scales = sorted({group["lr_scale"] for group in groups})
        stored[f"timm/{count}/{decay}"] = np.array(scales)
    np.savez_compressed(Path(__file__).with_name("torch_trajectories.npz"), **stored)


if __name__ == "__main__":
    main()
