"""Muon for convolutions: on unseen castings better than AdamW, and in half the batches (docs/studies/)."""

from typing import Any

from edge_qc_trainer.config import Recipe

_FEWEST_CHANNELS = 8  # of the output: fewer make no matrix worth making orthogonal


def build_optimizer(recipe: Recipe) -> Any:
    """The optimizer, with averaged weights and a learning rate that rises, then falls with a cosine to a hundredth.

    Args:
        recipe: ``learning_rate``, ``warmup_steps``, ``weight_decay``, ``average``, and how many batches there will be.

    Returns:
        A ``keras.optimizers.Optimizer``. The kernels of convolutions over several channels get Muon's update (Jordan et
        al., 2024; scaled as by Liu et al., 2025, https://arxiv.org/abs/2502.16982), each as a matrix of (height x width
        x channels in, channels out); all else gets AdamW's at half the rate.
    """
    import keras
    from keras import ops

    class ConvolutionMuon(keras.optimizers.Muon):  # type: ignore[misc]  # keras has no types
        """Keras' own takes matrices alone; the kernel of a convolution is one when its first three axes are joined."""

        def _should_use_adamw(self, variable: Any) -> bool:
            return len(variable.shape) != 4 or variable.shape[-2] == 1 or variable.shape[-1] < _FEWEST_CHANNELS

        def _muon_update_step(self, gradient: Any, variable: Any, lr: Any, m: Any) -> None:
            self.assign_add(m, ops.add(gradient, m * (self.momentum - 1)))
            ahead = ops.add(gradient, self.momentum * m)
            channels = variable.shape[-1]
            matrix = ops.reshape(ahead, (-1, channels))
            orthogonal = self.zeropower_via_newtonschulz5(matrix, self.ns_steps)
            longest = max(matrix.shape[0], channels)
            step = ops.reshape(orthogonal, variable.shape) * (self.rms_rate * longest**0.5)
            self.assign_sub(variable, ops.cast(lr, variable.dtype) * step)

    return ConvolutionMuon(
        _learning_rate(recipe),
        weight_decay=recipe.weight_decay,
        adam_weight_decay=recipe.weight_decay,
        adam_lr_ratio=0.5,
        use_ema=True,
        ema_momentum=recipe.average,
    )


def _learning_rate(recipe: Recipe) -> Any:
    from keras.optimizers.schedules import CosineDecay

    steps, rate = recipe.epochs * recipe.steps_per_epoch, recipe.learning_rate
    warmup = min(recipe.warmup_steps, steps // 10)
    if not warmup:
        return CosineDecay(rate, steps, alpha=0.01)
    return CosineDecay(rate / 100, max(1, steps - warmup), alpha=0.01, warmup_target=rate, warmup_steps=warmup)
