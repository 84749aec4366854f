"""Block masks: which patches of which global crops the student does not see (RECIPE section 6)."""

import math

import numpy as np
import torch

from medino.core import InputError

SMALLEST_BLOCK = 4
"""Patches that a block aims at, at least."""

LARGEST_BLOCK_SHARE = 0.5
"""A block covers at most this share of the grid."""

LOWEST_ASPECT = 0.3
"""Height over width of a block is log-uniform between this and its inverse, 3.33."""

BLOCK_TRIES = 10
"""How many blocks are drawn before the mask is left as it is."""


class BlockMasks:
    """Draws the patch masks of a batch of global crops, in rectangular blocks.

    Of `num_crops`, `int(num_crops * mask_probability)` are masked; the range of ratios is cut into as many equal parts
    and the i-th masked crop draws its ratio from the i-th part, so that every batch has few and many patches masked;
    then the crops are shuffled. A crop can end with some patches fewer than it drew, where no further block fits;
    never with more.

    Args:
        grid: rows and columns of patches in a global crop.
        mask_ratio: lowest and highest share of a masked crop's patches.
        mask_probability: share of the crops that is masked.

    Raises:
        InputError: the grid is empty, or a share is not within [0, 1] or not in order.
    """

    def __init__(
        self,
        grid: tuple[int, int],
        mask_ratio: tuple[float, float] = (0.1, 0.5),
        mask_probability: float = 0.5,
    ) -> None:
        if min(grid) < 1:
            raise InputError(f"a patch grid of {grid[0]} x {grid[1]} can't be masked; give crops of at least one patch")
        if not 0 <= mask_ratio[0] <= mask_ratio[1] <= 1:
            low, high = mask_ratio
            raise InputError(f"mask_ratio is [{low}, {high}]; give a lower and an upper share within 0 and 1")
        if not 0 <= mask_probability <= 1:
            raise InputError(f"mask_probability is {mask_probability}; give a share within 0 and 1")
        self.grid = (int(grid[0]), int(grid[1]))
        self.mask_ratio = (float(mask_ratio[0]), float(mask_ratio[1]))
        self.mask_probability = float(mask_probability)

    def __call__(self, num_crops: int, generator: np.random.Generator) -> torch.Tensor:
        """Draw the masks of `num_crops` crops.

        Returns:
            (num_crops, rows * columns) bool, True where a patch is masked.
        """
        patches = self.grid[0] * self.grid[1]
        num_masked = int(num_crops * self.mask_probability)
        edges = np.linspace(*self.mask_ratio, num_masked + 1)
        masks = np.zeros((num_crops, patches), dtype=bool)
        for index in range(num_masked):
            target = int(patches * generator.uniform(edges[index], edges[index + 1]))
            masks[index] = self.draw_mask(target, generator).ravel()
        return torch.from_numpy(masks[generator.permutation(num_crops)])

    def draw_mask(self, target: int, generator: np.random.Generator) -> np.ndarray:
        """Draw one mask (rows, columns) of at most `target` patches, block by block."""
        mask = np.zeros(self.grid, dtype=bool)
        largest = LARGEST_BLOCK_SHARE * mask.size
        missing = target
        while missing > 0:
            added = self._add_block(mask, min(missing, largest), generator)
            if added == 0:
                break
            missing -= added
        return mask

    def _add_block(self, mask: np.ndarray, most: float, generator: np.random.Generator) -> int:
        """Mask one more block in place, if one of ten tries adds between 1 and `most` patches; return how many."""
        rows, columns = self.grid
        reach = -math.log(LOWEST_ASPECT)
        for _ in range(BLOCK_TRIES):
            # Where fewer than the smallest block are missing, the ends of the range are in reverse order: as in the
            # reference, the area is then drawn between what is missing and the smallest block.
            area = SMALLEST_BLOCK + (most - SMALLEST_BLOCK) * generator.random()
            aspect = math.exp(generator.uniform(-reach, reach))
            height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if height >= rows or width >= columns:
                continue
            top = int(generator.integers(rows - height + 1))
            left = int(generator.integers(columns - width + 1))
            block = mask[top : top + height, left : left + width]
            added = block.size - int(np.count_nonzero(block))
            if 0 < added <= most:
                block[:] = True
                return added
        return 0
