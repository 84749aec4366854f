from pathlib import Path

import numpy as np
import pytest
import torch

from medino.core import InputError
from medino.data import Manifest, PixelDataset
from medino.features import BackboneMaps, EvaluationTransform, MapStore, PatchPixels, keep_maps
from medino.features.variants import VARIANTS
from medino.models import VisionTransformer, build_backbone

TRANSFORM = EvaluationTransform(size=32)


class CountedPixels(PatchPixels):
    """Patch pixels that count the images they are made of, and stop after some of them."""

    def __init__(self, stop_after: float = float("inf")) -> None:
        super().__init__(patch_size=8)
        self.images, self.stop_after = 0, stop_after

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        if self.images + len(images) > self.stop_after:
            raise KeyboardInterrupt
        self.images += len(images)
        return super().__call__(images)


def shown(manifest: Manifest) -> torch.Tensor:
    return torch.stack([TRANSFORM(PixelDataset(manifest)[row]) for row in range(len(manifest))])


def test_maps_are_the_tokens_of_each_image_and_of_the_image_mirrored_and_turned(
    make_archive, backbone: VisionTransformer, tmp_path: Path
) -> None:
    manifest = make_archive()
    size = backbone.config.patch_size
    store = keep_maps(
        tmp_path / "maps", BackboneMaps(backbone, 2), manifest, TRANSFORM, variants=list(VARIANTS), batch_size=4
    )
    assert store.maps.dtype == np.float16
    assert isinstance(store.maps, np.memmap)
    assert store.maps.shape == (6, 6, 32 // size, 32 // size, 2 * backbone.config.embed_dim)
    assert store.layers == (3, 4)
    mirrored = {"as_is": shown(manifest), "left_right": shown(manifest).flip(3), "top_bottom": shown(manifest).flip(2)}
    for variant, images in mirrored.items():
        with torch.no_grad():
            expected = torch.cat([tokens.patches for tokens in backbone.intermediate(images, 2)], dim=-1)
        torch.testing.assert_close(store.tokens(range(6), variant), expected, rtol=2e-3, atol=2e-3)
    # The reason why each way is kept: a mirrored map is not the map of the mirrored image.
    assert (store.tokens([0], "left_right") - store.tokens([0]).flip(2)).abs().max() > 0.01


def test_masks_turn_with_their_images() -> None:
    corner = torch.zeros(4, 4)
    corner[0, 1] = 1
    places = {name: [int(place) for place in vary(corner).nonzero()[0]] for name, vary in VARIANTS.items()}
    assert places == {
        "as_is": [0, 1],
        "left_right": [0, 2],
        "top_bottom": [3, 1],
        "quarter_turn": [2, 0],
        "half_turn": [3, 2],
        "three_quarter_turn": [1, 3],
    }


def test_pixels_of_patches_are_the_floor(make_archive, tmp_path: Path) -> None:
    manifest = make_archive(images=2)
    store = keep_maps(tmp_path / "maps", PatchPixels(8), manifest, TRANSFORM)
    patch = shown(manifest)[1, :, 8:16, 24:32].reshape(-1)
    torch.testing.assert_close(store.tokens([1])[0, 1, 3], patch, rtol=1e-3, atol=1e-3)


def test_what_is_kept_is_not_computed_again(make_archive, tmp_path: Path) -> None:
    manifest, first, second = make_archive(), CountedPixels(), CountedPixels()
    one = keep_maps(tmp_path / "maps", first, manifest, TRANSFORM, facts={"backbone": "floor"})
    other = keep_maps(tmp_path / "maps", second, manifest, TRANSFORM)
    assert (first.images, second.images) == (6, 0)
    np.testing.assert_array_equal(one.maps, other.maps)
    assert other.facts == {"backbone": "floor"}
    other.check_made_from(manifest, "floor")
    with pytest.raises(InputError, match="another manifest"):
        other.check_made_from(manifest.select([0, 1]), "floor")


def test_a_stopped_making_goes_on_and_is_no_store_before_it_is_whole(make_archive, tmp_path: Path) -> None:
    manifest = make_archive(broken=1)
    with pytest.raises(KeyboardInterrupt):
        keep_maps(tmp_path / "maps", CountedPixels(stop_after=4), manifest, TRANSFORM, batch_size=2)
    assert not (tmp_path / "maps").exists()
    with pytest.raises(InputError, match="not whole"):
        MapStore.open(tmp_path / "maps")
    # A stop between the two writes leaves bytes that nobody answers for.
    with (tmp_path / "maps.part" / "maps.npy").open("ab") as file:
        file.write(b"half a row")
    rest = CountedPixels()
    store = keep_maps(tmp_path / "maps", rest, manifest, TRANSFORM, batch_size=2)
    assert rest.images == 1
    whole = keep_maps(tmp_path / "whole", CountedPixels(), manifest, TRANSFORM, batch_size=2)
    np.testing.assert_array_equal(store.maps, whole.maps)
    assert store.rejects == whole.rejects == (manifest.column("sample_id")[5],)
    assert not store.maps[5].any()
    assert not (tmp_path / "maps.part").exists()


def test_maps_of_something_else_are_refused(make_archive, backbone: VisionTransformer, tmp_path: Path) -> None:
    manifest, folder = make_archive(), tmp_path / "maps"
    keep_maps(folder, BackboneMaps(backbone), manifest, TRANSFORM)
    other = build_backbone(backbone.config, seed=1)
    with pytest.raises(InputError, match=r"another backbone;"):
        keep_maps(folder, BackboneMaps(other), manifest, TRANSFORM)
    with pytest.raises(InputError, match=r"another layers and shape"):
        keep_maps(folder, BackboneMaps(backbone, 2), manifest, TRANSFORM)


def test_the_size_is_said_before_it_is_taken_and_a_small_disk_is_refused(
    make_archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    manifest, maker = make_archive(), CountedPixels()
    monkeypatch.setattr("medino.features.maps.free_bytes", lambda folder: 36_000)
    with pytest.raises(InputError, match=r"need 36.9 KB more.*36 KB free"):
        keep_maps(tmp_path / "maps", maker, manifest, TRANSFORM, announce=said.append)
    assert maker.images == 0
    assert not list(tmp_path.glob("maps*"))
    monkeypatch.setattr("medino.features.maps.free_bytes", lambda folder: 37_000)
    keep_maps(tmp_path / "maps", maker, manifest, TRANSFORM, announce=said.append)
    assert said[-1] == "token maps maps: 6 images, 4 x 4 patches of 192 numbers in fp16: 36.9 KB; 37 KB are free"
    assert 36_864 <= (tmp_path / "maps" / "maps.npy").stat().st_size < 37_000


def test_what_fp16_cannot_hold_is_refused(make_archive, tmp_path: Path) -> None:
    class Huge(PatchPixels):
        def __call__(self, images: torch.Tensor) -> torch.Tensor:
            return super().__call__(images) * 1e6

    with pytest.raises(InputError, match="fp16 does not hold"):
        keep_maps(tmp_path / "maps", Huge(8), make_archive(), TRANSFORM)


@pytest.mark.parametrize(
    ("variants", "message"),
    [(["as_is", "upside_down"], "no variant 'upside_down'"), (["left_right"], "name as_is first")],
)
def test_unknown_ways_of_mirroring_are_refused(make_archive, tmp_path: Path, variants: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        keep_maps(tmp_path / "maps", PatchPixels(8), make_archive(), TRANSFORM, variants=variants)


def test_a_size_that_the_patch_does_not_divide_is_refused(make_archive, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no multiple of the patch"):
        keep_maps(tmp_path / "maps", PatchPixels(7), make_archive(), TRANSFORM)


def test_a_folder_that_holds_no_maps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no maps"):
        MapStore.open(tmp_path)
