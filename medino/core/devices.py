"""How small tensors that a CPU has made come to the device that computes."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def to_device(tensor: "torch.Tensor", device: "torch.device") -> "torch.Tensor":
    """The tensor on a device; a CPU does not wait until a GPU has it.

    A plain copy to a GPU first waits for all that the GPU was asked to do before. From pinned memory it takes its place
    in the queue, and the CPU goes on asking.

    Args:
        tensor: of any shape and type.
        device: where it is needed.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
