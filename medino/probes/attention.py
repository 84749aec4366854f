"""Attention over the instances of a bag, learned from the labels of bags: ABMIL, and attentive pooling of patch tokens.

A bag's logits are the mean of its instances' class evidence (a linear function of the instance), weighted by a softmax,
over the bag, of one score an instance. Two functions give that score:

- `Gated`: w . (tanh(V x) * sigmoid(U x)), the gated attention of Ilse et al. 2018 (arXiv 1802.04712, equation 9). The
  paper's model turns a bag into the weighted mean of its instances and classifies that; a linear classifier of a
  weighted mean is the weighted mean of what it says of each.
- `LearnedQuery`: q . x, cross-attention by one learned query as in the attentive probes of CAE (arXiv 2202.03026,
  section 3.4) and V-JEPA (arXiv 2404.08471, section 4), with one head: the projections of keys and values then add
  nothing that the query and the classifier can't be. Their many heads and V-JEPA's MLP are for a million labels.

Both begin with equal weights, so that a fit starts as a linear probe of the bag's mean and leaves it as far as the
support set tells it to.

Nothing is chosen on the units that are reported on, and nothing on the support set either: steps, rate and weight
decay are the constants below. A handful of bags is too few to leave some out and rank settings by the rest, and one
setting makes the fits of all episodes alike.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from medino.core import torch_generator
from medino.probes.bags import Bags
from medino.probes.episodes import Episodes

STEPS = 100
"""Of AdamW, each on the whole support set, the rate falling to zero by a cosine. Three times as many moved the
accuracy on planted bags (see below) by -2 to +5 points."""

LEARNING_RATE, WEIGHT_DECAY = 0.02, 0.1
"""For instances of mean square length 1. On planted bags of 10 to 768 dimensions, where one instance of some ten tells
the class, `Gated` lost up to 7 points at a rate of .1, and `LearnedQuery` gained up to 11; on real tiles .02 gave a
lower loss than .05 in seven comparisons of eight."""

WIDTH = 64
"""Of V and U; the paper's 128 is for hundreds of bags."""

INSTANCES_TO_LEARN_FROM = 32768
"""Of one episode, all bags together (100 MB at a width of 768): a bag larger than its share is drawn from, as is usual
for slides. Test bags are always read whole."""

INSTANCES_AT_ONCE = 2048
"""Of the test bags, whose softmax runs over the parts: memory does not grow with a bag."""


class Gated(nn.Module):
    """Gated attention; all scores are zero at the start.

    Args:
        dimensions: D.
        generator: of the initial V and U.
    """

    def __init__(self, dimensions: int, generator: torch.Generator) -> None:
        super().__init__()
        self.tanh, self.gate = (nn.utils.skip_init(nn.Linear, dimensions, WIDTH) for _ in range(2))
        for layer in (self.tanh, self.gate):
            nn.init.normal_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)
        self.weight = nn.Parameter(torch.zeros(WIDTH))

    def forward(self, instances: torch.Tensor) -> torch.Tensor:
        """(n, D) to (n,)."""
        return (torch.tanh(self.tanh(instances)) * torch.sigmoid(self.gate(instances))) @ self.weight


class LearnedQuery(nn.Module):
    """One learned query; all scores are zero at the start.

    Args:
        dimensions: D.
        generator: unused, nothing is drawn.
    """

    def __init__(self, dimensions: int, generator: torch.Generator) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(dimensions))

    def forward(self, instances: torch.Tensor) -> torch.Tensor:
        """(n, D) to (n,)."""
        return instances @ self.query


Scorer = Callable[[int, torch.Generator], nn.Module]


class AttentionHead(nn.Module):
    """Scores and class evidence of instances, centred and brought to a mean square length of 1 by those it learns from.

    Args:
        scorer: makes the function that scores.
        instances: (n, D) of the support set.
        num_classes: C.
        generator: of initial weights.
    """

    centre: torch.Tensor
    scale: torch.Tensor

    def __init__(self, scorer: Scorer, instances: torch.Tensor, num_classes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("centre", instances.mean(dim=0))
        scale = (instances - self.centre).square().sum(dim=1).mean().sqrt()
        self.register_buffer("scale", torch.where(scale > 0, scale, 1.0))
        self.scorer = scorer(instances.shape[1], generator)
        self.classify = nn.utils.skip_init(nn.Linear, instances.shape[1], num_classes)
        nn.init.zeros_(self.classify.weight)
        nn.init.zeros_(self.classify.bias)

    def forward(self, instances: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Standardised (n, D) to scores (n,) and evidence (n, C)."""
        return self.scorer(instances), self.classify(instances)

    def standardised(self, instances: torch.Tensor) -> torch.Tensor:
        """Instances (n, D) as `forward` takes them."""
        return (instances - self.centre) / self.scale


class RunningMean:
    """Softmax-weighted means of bags whose instances come in parts, in any order (Milakov and Gimelshein 2018).

    Args:
        bags: number of bags (B).
        num_classes: C.
    """

    def __init__(self, bags: int, num_classes: int) -> None:
        self.largest = torch.full((bags,), -torch.inf)
        self.total = torch.zeros(bags)
        self.sums = torch.zeros(bags, num_classes)

    def add(self, scores: torch.Tensor, evidence: torch.Tensor, bag: torch.Tensor) -> None:
        """Take in instances: scores (n,), evidence (n, C) and the bag (n,) of each."""
        largest = self.largest.scatter_reduce(0, bag, scores.detach(), "amax")
        # What no instance was in yet has nothing that could fade.
        fade = torch.where(self.largest == largest, 1.0, (self.largest - largest).exp())
        weights = (scores - largest[bag]).exp()
        self.largest = largest
        self.total = (self.total * fade).index_add(0, bag, weights)
        self.sums = (self.sums * fade[:, None]).index_add(0, bag, weights[:, None] * evidence)

    @property
    def means(self) -> torch.Tensor:
        """(B, C)."""
        return self.sums / self.total[:, None]


def attention(scorer: Scorer, bags: Bags, episodes: Episodes) -> np.ndarray:
    """Probabilities by attention that is learned from each episode's support bags.

    Args:
        scorer: `Gated` or `LearnedQuery`.
        bags: of all units.
        episodes: what is asked.

    Returns:
        (E, Q, C).
    """
    classes = torch.from_numpy(episodes.classes)
    at_most = max(1, INSTANCES_TO_LEARN_FROM // episodes.support.shape[1])
    heads = []
    for number, support in enumerate(episodes.support):
        instances, bag = bags.of(support, at_most, episodes.seed)
        generator = torch_generator(episodes.seed, "attention", len(support), number)
        heads.append(fitted(scorer, instances, bag, classes, episodes.num_classes, generator))
    means = [RunningMean(len(episodes.test), episodes.num_classes) for _ in heads]
    with torch.inference_mode():
        for instances, bag in bags.in_parts(episodes.test, INSTANCES_AT_ONCE):
            for head, mean in zip(heads, means, strict=True):
                scores, evidence = head(head.standardised(instances))
                mean.add(scores, evidence, bag)
    return torch.stack([mean.means.softmax(dim=1) for mean in means]).numpy()


def fitted(
    scorer: Scorer,
    instances: torch.Tensor,
    bag: torch.Tensor,
    classes: torch.Tensor,
    num_classes: int,
    generator: torch.Generator,
) -> AttentionHead:
    """Train a head on labelled bags.

    Args:
        scorer: makes the function that scores.
        instances: (n, D).
        bag: (n,) the bag that each is in.
        classes: (B,) of the bags.
        num_classes: C.
        generator: of initial weights.
    """
    head = AttentionHead(scorer, instances, num_classes, generator)
    optimizer = torch.optim.AdamW(head.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    instances = head.standardised(instances)
    for _ in range(STEPS):
        mean = RunningMean(len(classes), num_classes)
        scores, evidence = head(instances)
        mean.add(scores, evidence, bag)
        optimizer.zero_grad()
        F.cross_entropy(mean.means, classes).backward()
        optimizer.step()
        schedule.step()
    return head.eval()
