"""Muon for the matrices and AdamW for the rest, as the single optimizer that a Trainer expects."""

import torch
from torch.optim import AdamW, Muon, Optimizer


def hidden_matrices(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The trainable 2-D weights inside the layers, without embeddings and output head."""
    outside = {id(p) for m in (model.get_input_embeddings(), model.get_output_embeddings()) for p in m.parameters()}
    return [p for p in model.parameters() if p.requires_grad and p.ndim == 2 and id(p) not in outside]


class MuonAdamW(Optimizer):
    """torch's Muon on the hidden matrices, AdamW on embeddings, head and norms.

    Muon orthogonalises the momentum of each matrix by Newton–Schulz iterations in bfloat16 (Jordan et al., 2024).
    `param_groups` and `state_dict` hold those of both, so schedulers act on both and a run can resume.
    """

    def __init__(self, model: torch.nn.Module, muon_lr: float, adam_lr: float, betas=(0.9, 0.95)):
        matrices = hidden_matrices(model)
        chosen = {id(p) for p in matrices}
        others = [p for p in model.parameters() if p.requires_grad and id(p) not in chosen]
        self.inner = [
            Muon(matrices, lr=muon_lr, weight_decay=0.0),
            AdamW(others, lr=adam_lr, betas=betas, weight_decay=0),
        ]
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
