"""A draw depends on its address and on nothing else."""

import torch

from medino.core import derive_seed, numpy_generator, torch_generator


def test_one_address_gives_one_stream_whatever_was_drawn_before() -> None:
    first = torch.rand(5, generator=torch_generator(1, "views", 3, 4))
    torch.rand(100)
    assert torch.equal(first, torch.rand(5, generator=torch_generator(1, "views", 3, 4)))
    assert numpy_generator(1, "views", 3, 4).random() == numpy_generator(1, "views", 3, 4).random()


def test_every_part_of_the_address_counts() -> None:
    addresses = [(1, "views", 3, 4), (2, "views", 3, 4), (1, "masks", 3, 4), (1, "views", 4, 3), (1, "views", 34)]
    assert len({derive_seed(*address) for address in addresses}) == len(addresses)


def test_neighbouring_addresses_are_uncorrelated() -> None:
    draws = torch.stack([torch.rand(2000, generator=torch_generator(0, "views", step, 0)) for step in range(8)])
    correlation = torch.corrcoef(draws) - torch.eye(8)
    # The standard error of a correlation of 2000 pairs is 1/sqrt(2000) = .022; 28 pairs stay within 4.5 of it.
    assert correlation.abs().max() < 0.1
