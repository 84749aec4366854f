"""W&B works without network and account, and what it leaves says nothing of machine, user, folder or command."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PERSON = "Hlavackova"
"""Planted in folder, file name, arguments, printed text, host and user name, home folder and settings."""

SCRIPT = f"""
import logging, socket, sys
from pathlib import Path
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader
from medino.tracking import ContinueMetrics, RunMetricsLogger, RunWandbLogger

socket.gethostname = lambda: "host-{PERSON}"
print("{PERSON} on standard output")
print("{PERSON} on standard error", file=sys.stderr)
logging.getLogger().warning("{PERSON} in a log")

class Line(pl.LightningModule):
    def __init__(self, manifest):
        super().__init__()
        self.save_hyperparameters()
        self.weight = torch.nn.Parameter(torch.zeros(1))
    def training_step(self, batch, batch_idx):
        loss = (self.weight - batch).square().mean()
        self.log("loss", loss)
        print("{PERSON} while training")
        return loss
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

run = Path("run_{PERSON}").absolute()
loggers = [RunMetricsLogger(run), RunWandbLogger(run)]
trainer = pl.Trainer(max_steps=4, accelerator="cpu", logger=loggers, callbacks=[ContinueMetrics()], log_every_n_steps=1,
    enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False)
trainer.fit(Line(manifest=sys.argv[1]), DataLoader(torch.linspace(0, 1, 4)))
{{after}}
"""


def train(folder: Path, after: str = "") -> Path:
    """Run the script in a process of its own, in a folder, with a home and under a user that carry the name."""
    work, home = folder / f"work_{PERSON}", folder / f"home_{PERSON}"
    work.mkdir(parents=True)
    home.mkdir()
    script = work / f"train_{PERSON}.py"
    script.write_text(SCRIPT.format(after=after))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    environment |= {"HOME": str(home), "USER": PERSON, "LOGNAME": PERSON, "PWD": str(work), "OMP_NUM_THREADS": "1"}
    # No server, no account: any connection would go to a port that nobody listens on.
    environment |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, str(script), f"/archive/{PERSON}.parquet"],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"{PERSON} while training" in done.stdout
    return work / f"run_{PERSON}"


def traces(folder: Path, planted: bytes) -> list[str]:
    """Every place under `folder` that holds `planted`: bytes of files, targets of links, names below the folder."""
    found = []
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if planted.lower() in name.lower().encode():
            found.append(f"{name}: its name")
        content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        if planted.lower() in content.lower():
            found.append(f"{name}: its bytes")
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training, and a test after it with the same loggers."""
    tested = "loggers[1].log_metrics({'dice': 0.5}, 4); loggers[1].finalize('success')"
    return train(tmp_path_factory.mktemp("wandb"), tested)


def test_an_offline_run_is_written_into_the_run_folder_without_network_or_account(run: Path) -> None:
    logs = [path.read_bytes() for path in (run / "wandb").glob("offline-run-*/run-*.wandb")]
    assert sum(b"loss" in log for log in logs) == 1
    assert (run / "metrics.csv").is_file()


def test_a_test_after_the_fit_goes_on_under_the_same_id(run: Path) -> None:
    logs = list((run / "wandb").glob("offline-run-*/run-*.wandb"))
    assert sum(b"dice" in path.read_bytes() for path in logs) == 1
    assert len({path.name for path in logs}) == 1


def test_no_byte_of_the_run_holds_a_planted_identity(run: Path) -> None:
    assert traces(run, PERSON.encode()) == []


def test_nothing_outside_the_run_holds_it_either(run: Path) -> None:
    work = run.parent
    home = next(work.parent.glob("home_*"))
    assert traces(home, PERSON.encode()) == []
    assert {path.name for path in work.iterdir()} == {run.name, f"train_{PERSON}.py"}


@pytest.mark.parametrize("what", ["host", "folder", "interpreter", "archive"])
def test_no_byte_of_the_run_names_machine_or_place(what: str, run: Path) -> None:
    planted = {
        "host": socket.gethostname(),
        "folder": str(run.parent.parent),
        "interpreter": sys.executable,
        "archive": "/archive",
    }[what]
    if len(planted) < 4:
        pytest.skip(f"the {what}'s name {planted!r} is too short to be told from chance")
    assert traces(run, planted.encode()) == []


def test_the_search_finds_what_the_plain_logger_leaks(tmp_path: Path) -> None:
    """Without the settings the identity is there: the test above looks in the right place."""
    after = "import wandb; w = wandb.init(mode='offline', dir=run); w.log({'a': 1}); w.finish()"
    leaky = train(tmp_path, after)
    assert any(name.endswith("its bytes") for name in traces(leaky / "wandb", PERSON.encode()))


def test_where_the_disk_is_full_wandb_prints_nothing_of_its_own_and_training_goes_on(tmp_path: Path) -> None:
    script = tmp_path / "full.py"
    script.write_text(
        "import resource, sys\n"
        "from medino.tracking import wandb_logger\n"
        "first = wandb_logger(sys.argv[1] + '/first')\n"
        "first.experiment.log({'loss': 1.0})\n"
        "first.finalize('success')\n"
        "# From here on, no file of this process takes a byte.\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))\n"
        "second = wandb_logger(sys.argv[1] + '/second')\n"
        "second.experiment.log({'loss': 1.0})\n"
        "second.finalize('success')\n"
        "print('went on')\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        env=environment | {"HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout == "went on\n"
    assert done.stderr == ""
