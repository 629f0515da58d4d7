"""The value of a policy loss where the policy has not moved: a check of a trainer whose loss is not TRL's.

unsloth replaces the loss by one of its own. With ratio 1 and no KL a clipped loss is the average of −A over the tokens,
and loss_type says which average; a loss that takes another one, or other advantages, has another value.
"""

from torch import Tensor

_AVERAGES = {
    "grpo": lambda summed, mask, **_: (summed / mask.sum(1).clamp(min=1)).mean(),
    "bnpo": lambda summed, mask, **_: summed.sum() / mask.sum().clamp(min=1),
    "dr_grpo": lambda summed, mask, max_tokens, **_: summed.sum() / (len(mask) * max_tokens),
    "dapo": lambda summed, mask, tokens, **_: summed.sum() / tokens,
    "luspo": lambda summed, mask, **_: summed.mean(),
}  # by loss_type; summed (rows,) is the sum of a row's −A over its tokens
TOLERANCE = 1e-3  # of mean |A|, beside the rounding of a large sum in bfloat16


def at_ratio_one(loss_type: str, advantages: Tensor, mask: Tensor, *, tokens: float, max_tokens: int) -> Tensor | None:
    """The loss of rows with these advantages, (rows,) or (rows, tokens), and mask (rows, tokens); None if not known.

    `tokens` are those of the whole optimiser update, which `dapo` divides by.
    """
    if loss_type not in _AVERAGES:
        return None
    each = advantages[:, None] if advantages.dim() == 1 else advantages
    summed = -(each * mask).sum(1)
    return _AVERAGES[loss_type](summed, mask, tokens=tokens, max_tokens=max_tokens)
