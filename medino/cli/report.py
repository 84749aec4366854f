"""`medino report`: one self-contained HTML file from one or more runs; its figures and numbers as files where asked."""

from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

if TYPE_CHECKING:
    from medino.core import RunFolder


def configure(parser: ArgumentParser) -> None:
    """Add the runs and where to write."""
    parser.add_argument("runs", nargs="+", type=str, metavar="RUN", help="folder of a run; several make one report")
    parser.add_argument("-o", "--output", type=str, help="the HTML file; default: report.html in the first run")
    parser.add_argument("--figures", type=str, help="write each figure as SVG and PNG into this folder, too")
    parser.add_argument("--csv", type=str, help="write all summaries into this .csv file for a spreadsheet, too")
    parser.add_argument(
        "--images",
        type=str,
        metavar="MANIFEST",
        help="show the worst, the middle and the best test images of the few-shot study, found by the manifest that it "
        "was made from; they are images of patients",
    )
    parser.add_argument(
        "--wandb", action="store_true", help="log the summaries as W&B tables into each run's folder, offline, too"
    )


def run(config: Namespace) -> None:
    """Draw from what the runs hold, and say where the report is."""
    from pathlib import Path

    from medino.cli.outputs import output_file
    from medino.core import InputError, RunFolder
    from medino.probes import export_csv, read_evidence
    from medino.tracking import log_evidence, report_runs

    csv = None if config.csv is None else output_file(config.csv, ".csv", "table", "--csv")
    if config.figures is not None and Path(config.figures).is_file():
        raise InputError(f"{config.figures} is a file; give a folder for the figures by --figures")
    runs = [RunFolder(Path(name)) for name in config.runs]
    if config.images is not None:
        show_images(runs, config.images)
    path = report_runs(runs, config.output, config.figures)
    print(f"report: {path}")
    if config.figures is not None:
        print(f"figures: {config.figures}")
    if csv is None and not config.wandb:
        return
    found = {f"run {place}": run for place, run in enumerate(runs, start=1) if run.evidence.is_file()}
    if not found:
        raise InputError("none of these runs holds evidence: there is no table to write; leave out --csv and --wandb")
    tables = {name: read_evidence(run.evidence) for name, run in found.items()}
    if csv is not None:
        export_csv(csv, tables if len(runs) > 1 else next(iter(tables.values())))
        print(f"table: {csv}")
    if config.wandb:
        for name, run in found.items():
            log_evidence(run, tables[name])
            print(f"W&B: {run.path / 'wandb'}")


def show_images(runs: "list[RunFolder]", manifest: str) -> None:
    """Keep a sheet of test images in the run, from where the report takes it.

    Raises:
        InputError: there are several runs, or this one has no study of classes.
    """
    from medino.cli.case_sheet import write_case_sheet
    from medino.core import InputError
    from medino.data import Manifest
    from medino.data.workers import Workers
    from medino.probes import read_evidence

    if len(runs) > 1:
        raise InputError("--images is for the report of one run; leave it out, or report this run alone")
    evidence = read_evidence(runs[0].evidence)
    if not write_case_sheet(evidence, Manifest.read(manifest), runs[0].case_sheet, Workers(1)):
        raise InputError(
            f"{runs[0].path} holds no few-shot study of classes; leave out --images (masks: fewshot_masks --overlays)"
        )
