"""What of Lightning's trainer does not go with medino's modules, and whether a run ended before its last step."""

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy

from medino.core import InputError
from medino.ssl import FullySharded, Watch
from medino.ssl.checkpointing import steps_done
from medino.ssl.fully_sharded import check_shardable

OWN_SETTINGS = {
    "accumulate_grad_batches": "model.accumulate",
    "gradient_clip_val": "model.clip_norm",
    "overfit_batches": "trainer.max_steps",
    "limit_train_batches": "trainer.max_steps",
}
"""Settings of the trainer, and what to set instead for a module that takes its steps itself.

Lightning refuses the first two, but not before training begins. With the other two it would come back to the first
batches, which say themselves what step they are for: the run would neither reach its last step nor go on from there.
"""


def check_trainer(trainer: Trainer, model: LightningModule) -> None:
    """Refuse what would end in Lightning's own error, or train something else than asked for.

    Args:
        trainer: as it was built.
        model: what it is to train.

    Raises:
        InputError: the trainer is to do what the module does itself, or shards parameters in another way than its own.
    """
    if not model.automatic_optimization:
        # What does nothing; a trial sets `limit_train_batches` itself.
        is_trial = bool(getattr(trainer, "fast_dev_run", False))
        nothing = {"accumulate_grad_batches": "1", "limit_train_batches": "1.0"}
        for name, own in OWN_SETTINGS.items():
            value = getattr(trainer, name)
            if value and str(value) != nothing.get(name) and not (is_trial and name == "limit_train_batches"):
                raise InputError(
                    f"trainer.{name} is {value}, and {type(model).__name__} takes its steps itself; set {own} instead"
                )
    strategy = trainer.strategy
    if not isinstance(strategy, SingleDeviceStrategy | DDPStrategy):
        raise InputError(
            f"the strategy {type(strategy).__name__} is not supported: clipping, the teacher's average and checkpoints "
            "take whole parameters; set trainer.strategy to auto, ddp or, in pretraining, fully_sharded"
        )
    if isinstance(strategy, FullySharded):
        check_shardable(model)


def ended_early(trainer: Trainer, model: LightningModule) -> str | None:
    """Where a run that was not interrupted ended before its last step, in words; None where that was said already.

    Args:
        trainer: that has trained.
        model: what it has trained.
    """
    steps = steps_done(model)
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    if steps >= trainer.max_steps or any(isinstance(each, Watch) and each.stopped for each in callbacks):
        return None
    return (
        f"the run ended after {steps} of {trainer.max_steps} steps: a limit of the trainer's, such as max_time or "
        "max_epochs, or a callback ended it"
    )
