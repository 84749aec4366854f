"""The list of known weights: every entry can be built, says what it must, and its numbers fit each other."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from scattered_backbones import scattered

from medino.core import InputError
from medino.models import KNOWN_WEIGHTS, BackboneConfig, KnownWeights, find_weights, known_path, load_backbone
from medino.models.checkpoints import as_known, check_fit
from medino.models.inferred_config import config_from_weights
from medino.models.known import KnownFile
from medino.models.layouts import published, resizing
from medino.models.layouts.hugging_face import in_the_hubs_names
from medino.models.layouts.timm import in_timms_names
from medino.models.presets import empty_backbone

ENTRIES = list(KNOWN_WEIGHTS.values())


@pytest.mark.parametrize("known", ENTRIES, ids=list(KNOWN_WEIGHTS))
def test_an_entry_is_a_network_that_can_be_built(known: KnownWeights) -> None:
    parameters = sum(parameter.numel() for parameter in empty_backbone(known.config).parameters())
    if known.file.size is not None:
        # Published in float32: a file is its parameters and a few names.
        assert 1 <= known.file.size / (4 * parameters) < 1.001
    way = resizing(known.interpolation, known.config.num_register_tokens)
    found = (known.config.interpolate_offset, known.config.interpolate_antialias)
    assert found == (way["interpolate_offset"], way["interpolate_antialias"])


@pytest.mark.parametrize("known", ENTRIES, ids=list(KNOWN_WEIGHTS))
def test_an_entry_says_where_it_comes_from_and_what_it_may_be_used_for(known: KnownWeights) -> None:
    for file in filter(None, (known.file, known.heads)):
        assert file.address.startswith("https://")
        assert file.address.endswith(file.name)
        assert (file.url is None) != (file.repository is None)
        assert file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        # A sum is of one version of a file; the branch of a repository may move on.
        assert file.revision == "main" or re.fullmatch(r"[0-9a-f]{40}", file.revision)
    assert known.licence
    assert known.terms
    assert (known.derivatives == "no") == ("ND" in known.licence)
    assert known.gated is None or known.page in known.gated


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KnownWeights:
    """An entry small enough to write, in a folder of its own."""
    config = BackboneConfig(
        name="tiny-one", embed_dim=32, depth=4, num_heads=4, patch_size=8, image_size=32, mean=(0.1, 0.2, 0.3)
    )
    entry = KnownWeights(
        config,
        title="a tiny one",
        images="noise",
        file=KnownFile("tiny.safetensors", url="https://example.invalid/tiny.safetensors"),
        interpolation="timm",
        licence="none",
        derivatives="yes",
        terms="none",
        page="https://example.invalid",
    )
    monkeypatch.setitem(KNOWN_WEIGHTS, "tiny-one", entry)
    monkeypatch.setenv("MEDINO_WEIGHTS", str(tmp_path / "weights"))
    return entry


def written(known: KnownWeights, path: Path | None = None, **changes: object) -> Path:
    path = path or known_path(known)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(scattered(known.config.replace(**changes)).state_dict(), path)
    return path


def test_a_name_brings_the_normalisation_heads_and_resizing_of_its_entry(tiny: KnownWeights) -> None:
    path = written(tiny)
    for given in ("tiny-one", path):
        config = load_backbone(given).config
        assert (config.name, config.mean, config.num_heads) == ("tiny-one", (0.1, 0.2, 0.3), 4)
        assert config.interpolate_antialias
    assert load_backbone("tiny-one", interpolation="meta", mean=(0.5, 0.5, 0.5)).config.mean == (0.5, 0.5, 0.5)
    assert not load_backbone("tiny-one", interpolation="meta").config.interpolate_antialias


def test_a_path_goes_before_a_name(tiny: KnownWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tiny)
    written(tiny, tmp_path / "tiny-one")
    assert find_weights("tiny-one") == (Path("tiny-one"), None)


def test_weights_that_are_not_here_are_told_how_to_get(tiny: KnownWeights) -> None:
    with pytest.raises(InputError, match=r"'tiny-one' are not in .*tiny-one; get them with `medino weights get"):
        load_backbone("tiny-one")
    with pytest.raises(InputError, match=r"no weights are called so; did you mean dinov2_vits14.*weights list` lists"):
        load_backbone("dinov2_vits41")
    with pytest.raises(InputError, match=r"weights file runs/none.pth does not exist; check the path"):
        load_backbone("runs/none.pth")


def test_another_networks_file_under_a_known_name_is_refused(tiny: KnownWeights) -> None:
    written(tiny, depth=3)
    with pytest.raises(InputError, match=r"is not 'tiny-one': its depth is 3 and not 4; get the right file"):
        load_backbone("tiny-one")


def test_weights_without_a_mask_token_get_one_of_zeros_only_where_asked(tiny: KnownWeights) -> None:
    written(tiny, mask_token=False)
    assert load_backbone("tiny-one").mask_token is None
    assert load_backbone("tiny-one").config.drop_path == "batch_subset"
    token = load_backbone("tiny-one", mask_token=True).mask_token
    assert token is not None
    assert torch.equal(token, torch.zeros(1, 32))


def test_the_documentation_counts_what_is_known_as_the_list_does() -> None:
    text = " ".join((Path(__file__).parents[2] / "docs" / "weights.md").read_text(encoding="utf-8").split())
    known = [entry for entry in ENTRIES if entry.file.sha256]
    assert f"the SHA-256 of {len(known)} of its {len(ENTRIES)} backbones" in text
    assert all(f"`{entry.name}`" in text for entry in ENTRIES if "photographs" not in entry.images)


def in_its_layout(known: KnownWeights) -> dict[str, torch.Tensor]:
    """The names and shapes of an entry's file, without values."""
    state = empty_backbone(known.config).state_dict()
    if known.interpolation == "hf":
        return in_the_hubs_names(state)
    if known.interpolation == "meta":
        return state
    named = in_timms_names(state)
    if known.name == "virchow2":
        # Alone of those with registers it has a position for each of them (no `no_embed_class` in its config.json).
        named["pos_embed"] = torch.empty(1, 1 + 4 + 256, 1280, device="meta")
    return named


@pytest.mark.parametrize("known", ENTRIES, ids=list(KNOWN_WEIGHTS))
def test_a_file_of_an_entrys_layout_and_shapes_is_read_as_its_network(known: KnownWeights) -> None:
    weights = published(in_its_layout(known))
    # DINO's files are the same in timm's layout; the list says whose way is taken.
    assert weights.family == known.interpolation
    config = as_known(config_from_weights(weights, Path("file")), known, Path("file"))
    check_fit(weights.state, empty_backbone(config), Path("file"))
    for name in ("num_heads", "mask_token", "mean", "std", "image_size", "interpolate_offset", "interpolate_antialias"):
        assert getattr(config, name) == getattr(known.config, name), name
