"""`medino report`: one self-contained HTML file from one or more runs."""

from jsonargparse import ArgumentParser, Namespace


def configure(parser: ArgumentParser) -> None:
    """Add the runs and where to write."""
    parser.add_argument("runs", nargs="+", type=str, metavar="RUN", help="folder of a run; several make one report")
    parser.add_argument("-o", "--output", type=str, help="the HTML file; default: report.html in the first run")


def run(config: Namespace) -> None:
    """Draw from what the runs hold, and say where the report is."""
    from pathlib import Path

    from medino.core import RunFolder
    from medino.tracking import report_runs

    path = report_runs([RunFolder(Path(run)) for run in config.runs], config.output)
    print(f"report: {path}")
