"""Muon for the matrices and AdamW for the rest, as the single optimizer that a Trainer expects."""

import math

import torch
from torch import Tensor
from torch.optim import AdamW, Muon, Optimizer


def hidden_matrices(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The trainable 2-D weights inside the layers, without embeddings and output head."""
    outside = {id(p) for m in (model.get_input_embeddings(), model.get_output_embeddings()) for p in m.parameters()}
    return [p for p in model.parameters() if p.requires_grad and p.ndim == 2 and id(p) not in outside]


_STACKED = 2**22  # numbers in a stack at most; a larger matrix is a stack of its own


def _orthogonalise(matrices: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """Muon's Newton–Schulz iteration, X ← aX + (bA + cA²)X with A = XXᵀ, on (matrices, rows, columns) at once."""
    a, b, c = coefficients
    wide = matrices.mT if matrices.shape[1] > matrices.shape[2] else matrices
    wide = wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = wide @ wide.mT
        wide = torch.baddbmm(wide, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.mT if matrices.shape[1] > matrices.shape[2] else wide


class StackedMuon(Muon):
    """torch's Muon, matrices of equal shape together, and in float32 on a CPU, where bfloat16 is slow.

    The same state and settings; `adjust_lr_fn` is torch's default, √max(1, rows/columns).
    """

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            shapes: dict[tuple, list[Tensor]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    shapes.setdefault((matrix.shape, matrix.device), []).append(matrix)
            for same in shapes.values():
                size = max(1, _STACKED // same[0].numel())
                for start in range(0, len(same), size):
                    self._update(same[start : start + size], group)

    def _update(self, matrices: list[Tensor], group: dict) -> None:
        grads = [matrix.grad for matrix in matrices]
        for matrix in matrices:
            if "momentum_buffer" not in self.state[matrix]:
                self.state[matrix]["momentum_buffer"] = torch.zeros_like(matrix.grad)
        buffers = [self.state[matrix]["momentum_buffer"] for matrix in matrices]
        torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
        moved = torch.stack(buffers)
        moved = torch.stack(grads).lerp(moved, group["momentum"]) if group["nesterov"] else moved
        moved = moved.to(torch.bfloat16 if moved.is_cuda else torch.float32)
        moved = _orthogonalise(moved, group["ns_coefficients"], group["ns_steps"], group["eps"])
        rate = group["lr"] * math.sqrt(max(1, moved.shape[1] / moved.shape[2]))
        torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(matrices, moved.to(matrices[0].dtype).unbind(), alpha=-rate)


class MuonAdamW(Optimizer):
    """Muon on the hidden matrices, AdamW on embeddings, head and norms.

    `param_groups` and `state_dict` hold those of both, so schedulers act on both and a run can resume.
    """

    def __init__(self, model: torch.nn.Module, muon_lr: float, adam_lr: float, betas=(0.9, 0.95)):
        matrices = hidden_matrices(model)
        chosen = {id(p) for p in matrices}
        others = [p for p in model.parameters() if p.requires_grad and id(p) not in chosen]
        muon = StackedMuon(matrices, lr=muon_lr, weight_decay=0.0)
        self.inner = [muon, AdamW(others, lr=adam_lr, betas=betas, weight_decay=0)]
        super().__init__([{"params": matrices}, {"params": others}], {})
        self.param_groups = [group for optimizer in self.inner for group in optimizer.param_groups]

    def step(self, closure=None):
        for optimizer in self.inner:
            optimizer.step()

    def state_dict(self) -> dict:
        return {"inner": [optimizer.state_dict() for optimizer in self.inner]}

    def load_state_dict(self, state_dict: dict) -> None:
        for optimizer, state in zip(self.inner, state_dict["inner"], strict=True):
            optimizer.load_state_dict(state)
        self.param_groups = [group for optimizer in self.inner for group in optimizer.param_groups]
