"""Drop path: a block's branch leaves samples out while training. DINOv2's way skips their work, DINO v1's does not."""

import torch


class BatchSubset:
    """DINOv2's: of b samples max(int(b (1 - rate)), 1) are kept and only those are run.

    Their residual is multiplied by b over that number, so that the expectation over subsets is the full residual.
    """

    skips_work = True

    @staticmethod
    def draw(batch: int, rate: float, generator: torch.Generator | None) -> torch.Tensor:
        """The samples kept, (kept,) int64 on the CPU."""
        kept = max(int(batch * (1 - rate)), 1)
        return torch.randperm(batch, generator=generator, device="cpu")[:kept]

    @staticmethod
    def take(x: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """What the branch runs on, (kept, T, D)."""
        return x.index_select(0, kept)

    @staticmethod
    def add(x: torch.Tensor, branch: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """All samples (B, T, D), the kept ones with what the branch gave for them."""
        return x.index_add(0, kept, branch.to(x.dtype), alpha=len(x) / len(kept))


class PerSample:
    """DINO v1's: what the branch gave is zeroed for each sample with probability `rate` on its own."""

    skips_work = False

    @staticmethod
    def draw(batch: int, rate: float, generator: torch.Generator | None) -> torch.Tensor:
        """A factor for each sample, (B,) on the CPU."""
        keep = 1 - rate
        return (torch.rand(batch, generator=generator, device="cpu") < keep) / keep

    @staticmethod
    def take(x: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
        """What the branch runs on: all."""
        return x

    @staticmethod
    def add(x: torch.Tensor, branch: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
        """All samples (B, T, D) with what the branch gave, times their factors."""
        return x + branch * factors.to(branch.dtype)[:, None, None]


DROP_PATHS: dict[str, type[BatchSubset] | type[PerSample]] = {"batch_subset": BatchSubset, "per_sample": PerSample}
"""By their names in `BackboneConfig.drop_path`."""
