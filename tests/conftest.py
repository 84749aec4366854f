"""What all tests share: few threads, no GPU, and the real data where it is."""

import os
from pathlib import Path

import pytest
import torch

# Tests promise equal bits and the defaults of a machine without a GPU; processes that they start see none, either.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images: `MEDINO_TEST_DATA`, else `../shared/data`; without it the test is skipped."""
    folder = Path(os.environ.get("MEDINO_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("the real images are not here: set MEDINO_TEST_DATA to their folder (docs/datasets.md)")
    return folder


@pytest.fixture(autouse=True)
def _no_progress(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Show no progress on a machine that happens to be slow: all tests but those of progress read what else is said."""
    if request.node.path.name != "test_progress.py":
        monkeypatch.setattr("medino.core.progress.QUIET_SECONDS", float("inf"))
