from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from medino.probes import logistic
from medino.probes.attention import AttentionHead, Gated, LearnedQuery, RunningMean, attention, fitted
from medino.probes.bags import Bags, max_of_bags, mean_of_bags
from medino.probes.episodes import Episodes
from medino.probes.registry import probe_scores
from medino.probes.sources import FeatureSource
from medino.probes.units import labelled_units

SCORERS = pytest.mark.parametrize("scorer", [Gated, LearnedQuery])


def _bags(bags: list[np.ndarray]) -> Bags:
    """Bags of (n, D) instances."""
    bag = np.repeat(np.arange(len(bags)), [len(one) for one in bags])
    return Bags(np.concatenate(bags).astype(np.float32)[:, None], np.arange(len(bag)), bag)


def _one_of_many(shots: int = 20, tested: int = 100, episodes: int = 2) -> tuple[Bags, Episodes, np.ndarray]:
    """Bags of 20 to 39 instances of which one alone tells the class."""
    generator = np.random.default_rng(0)
    labels = np.arange(4 * shots + tested) % 2
    bags = [generator.normal(size=(generator.integers(20, 40), 10)) for _ in labels]
    for one, label in zip(bags, labels, strict=True):
        one[generator.integers(len(one)), label] += 6
    pool = np.arange(4 * shots)
    support = [
        np.concatenate([generator.choice(pool[pool % 2 == label], shots, replace=False) for label in (0, 1)])
        for _ in range(episodes)
    ]
    test = np.arange(4 * shots, len(labels))
    drawn = np.array(support)
    return _bags(bags), Episodes(drawn, drawn, np.repeat((0, 1), shots), test, 2, seed=0), labels[test]


def _accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(scores.argmax(axis=2) == labels))


def test_what_one_instance_alone_shows_is_lost_in_the_mean_and_found_by_maximum_and_attention() -> None:
    bags, asked, labels = _one_of_many()
    found = {}
    for name, pool in (("mean", mean_of_bags), ("max", max_of_bags)):
        vectors = pool(bags.instances[:, 0], bags.bag, int(bags.bag.max()) + 1)
        found[name] = _accuracy(logistic(vectors[asked.support], asked.classes, vectors[asked.test], 2), labels)
    found |= {scorer: _accuracy(attention(scorer, bags, asked), labels) for scorer in (Gated, LearnedQuery)}
    mean = found.pop("mean")
    assert min(found.values()) > mean + 0.1


@SCORERS
def test_a_fitted_head_listens_to_the_instance_that_carries_the_label(scorer: Callable) -> None:
    bags, asked, _ = _one_of_many()
    instances, bag = bags.of(asked.support[0], 1000, seed=0)
    classes = torch.from_numpy(asked.classes)
    head = fitted(scorer, instances, bag, classes, 2, torch.Generator().manual_seed(0))
    scores, _ = head(head.standardised(instances))
    own = [torch.nonzero(bag == number)[:, 0] for number in range(len(classes))]
    tells = [instances[one, label].argmax() for one, label in zip(own, classes, strict=True)]
    heard = [scores[one].argmax() == place for one, place in zip(own, tells, strict=True)]
    assert np.mean(heard) > 0.5  # 0.03 by chance


@SCORERS
def test_the_head_is_its_definition(scorer: Callable) -> None:
    """The bag's logits are a linear function of the weighted mean of its instances."""
    generator = torch.Generator().manual_seed(0)
    instances = torch.randn(30, 6, generator=generator)
    head = AttentionHead(scorer, instances, 3, generator)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        scaled = head.standardised(instances)
        torch.testing.assert_close(scaled, (instances - instances.mean(dim=0)) / _root(instances))
        if scorer is Gated:
            tanh, gate = (F.linear(scaled, layer.weight, layer.bias) for layer in (head.scorer.tanh, head.scorer.gate))
            scores = (torch.tanh(tanh) * torch.sigmoid(gate)) @ head.scorer.weight
            pooled = scores.softmax(dim=0) @ scaled
        else:
            query = head.scorer.query[None, None]
            # Of PyTorch, as a peer; it divides by the root of the dimensions.
            pooled = F.scaled_dot_product_attention(query, scaled[None], scaled[None], scale=1.0)[0, 0]
        mean = RunningMean(1, 3)
        mean.add(*head(scaled), torch.zeros(30, dtype=torch.int64))
        torch.testing.assert_close(mean.means[0], head.classify(pooled), rtol=1e-4, atol=1e-5)


def _root(instances: torch.Tensor) -> torch.Tensor:
    return (instances - instances.mean(dim=0)).pow(2).sum(dim=1).mean().sqrt()


def test_a_bag_in_parts_is_the_bag_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    scores, evidence = torch.randn(40, generator=generator) * 40, torch.randn(40, 3, generator=generator)
    bag = torch.randint(4, (40,), generator=generator)
    running = RunningMean(4, 3)
    for start in range(0, 40, 7):
        part = slice(start, start + 7)
        running.add(scores[part], evidence[part], bag[part])
    for number in range(4):
        own = bag == number
        torch.testing.assert_close(running.means[number], scores[own].softmax(dim=0) @ evidence[own])


@SCORERS
def test_the_order_of_instances_and_the_size_of_parts_change_nothing(scorer: Callable, monkeypatch) -> None:
    bags, asked, _ = _one_of_many(shots=3, tested=10)
    expected = attention(scorer, bags, asked)
    np.testing.assert_allclose(expected.sum(axis=2), 1, rtol=1e-5)
    np.testing.assert_array_equal(attention(scorer, bags, asked), expected)
    shuffled = np.random.default_rng(1).permutation(len(bags.bag))
    monkeypatch.setattr("medino.probes.attention.INSTANCES_AT_ONCE", 5)
    other = attention(scorer, Bags(bags.instances, bags.rows[shuffled], bags.bag[shuffled]), asked)
    np.testing.assert_allclose(other, expected, atol=1e-4)


def test_samples_of_several_instances_are_the_same_instances_one_by_one() -> None:
    bags, asked, _ = _one_of_many(shots=3, tested=10)
    flat = bags.instances[:, 0]
    whole = len(flat) // 4 * 4
    together = Bags(flat[:whole].reshape(-1, 4, 10), np.arange(whole // 4), np.arange(whole // 4) % 22)
    alone = Bags(flat[:whole, None], np.arange(whole), np.repeat(together.bag, 4))
    np.testing.assert_allclose(attention(Gated, together, asked), attention(Gated, alone, asked), atol=1e-4)


@SCORERS
def test_a_bag_of_one_is_its_instance(scorer: Callable) -> None:
    """However the instance scores, the bag is that instance, so that the head is linear."""
    generator = np.random.default_rng(0)
    bags = _bags([generator.normal(size=(1, 5)) + number % 2 for number in range(40)])
    vectors = bags.instances[:, 0]
    np.testing.assert_array_equal(mean_of_bags(vectors, bags.bag, 40), vectors)
    np.testing.assert_array_equal(max_of_bags(vectors, bags.bag, 40), vectors)
    drawn = np.arange(8)[None]
    asked = Episodes(drawn, drawn, np.arange(8) % 2, np.arange(8, 40), 2, seed=0)
    logits = np.log(attention(scorer, bags, asked)[0])
    inputs = np.column_stack([vectors[8:], np.ones(32)])
    difference = logits[:, 1] - logits[:, 0]
    weights = np.linalg.lstsq(inputs, difference, rcond=None)[0]
    np.testing.assert_allclose(inputs @ weights, difference, atol=1e-4)


def test_of_a_large_bag_a_part_is_learned_from_and_all_is_read() -> None:
    instances = np.arange(5000, dtype=np.float32).reshape(5000, 1, 1)
    bags = Bags(instances, np.arange(5000), np.array([0] * 10 + [1] * 4990))
    taken, place = bags.of(np.array([1, 0]), at_most=100, seed=3)
    assert torch.equal(place.bincount(), torch.tensor([100, 10]))
    assert taken[place == 0].min() >= 10
    assert len(taken.unique()) == 110
    assert torch.equal(bags.of(np.array([1, 0]), at_most=100, seed=3)[0], taken)
    assert not torch.equal(bags.of(np.array([1, 0]), at_most=100, seed=4)[0], taken)
    parts = list(bags.in_parts(np.array([1, 0]), 512))
    assert max(len(part) for part, _ in parts) <= 512
    together, places = (torch.cat(one) for one in zip(*parts, strict=True))
    assert torch.equal(together[:, 0], torch.arange(5000.0))
    assert places.tolist() == [1] * 10 + [0] * 4990


@SCORERS
def test_identical_instances_tell_nothing(scorer: Callable) -> None:
    bags = _bags([np.full((3, 4), 2.5) for _ in range(20)])
    drawn = np.arange(6)[None]
    asked = Episodes(drawn, drawn, np.arange(6) % 3, np.arange(6, 20), 3, seed=0)
    np.testing.assert_allclose(attention(scorer, bags, asked), 1 / 3, atol=1e-5)


def test_probes_of_the_maximum_see_the_largest_value_of_each_dimension(make_manifest, make_features) -> None:
    manifest = make_manifest()
    units = labelled_units(manifest, "patient")
    table = make_features(manifest)
    source = FeatureSource("start", units, table, "class")
    of_patient = {patient: [] for patient in units.ids}
    for sample_id, vector in zip(table.sample_ids, table.blocks[1, "class"], strict=True):
        of_patient[sample_id.rsplit("-", 1)[0].replace("sample", "patient")].append(vector)
    largest = np.stack([np.max(of_patient[patient], axis=0) for patient in units.ids])
    drawn = np.arange(9)[None]
    asked = Episodes(drawn, drawn, np.arange(9) % 3, np.arange(9, 72), 3, seed=0)
    expected = logistic(largest[asked.support], asked.classes, largest[asked.test], 3)
    np.testing.assert_allclose(probe_scores("logistic_max", source, asked), expected, atol=1e-6)
    assert not np.allclose(probe_scores("logistic", source, asked), expected, atol=1e-2)
