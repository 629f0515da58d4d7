"""A scored batch of a small trainer, and the gradient of an update on it."""

import torch


def gradient(trainer, inputs) -> torch.Tensor:
    trainer.model.zero_grad()
    trainer.current_gradient_accumulation_steps = 1
    trainer.compute_loss(trainer.model, dict(inputs)).backward()
    return torch.cat([p.grad.flatten() for p in trainer.model.parameters()])


def scored_batch(trainer) -> dict:
    rows = [trainer.train_dataset[i] for i in range(8) for _ in range(trainer.num_generations)]
    trainer.model.train()
    return trainer._generate_and_score_completions(rows)
