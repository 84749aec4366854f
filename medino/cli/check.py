"""`medino check`: a cohort looked over for leaks, in words and by the exit status."""

import dataclasses
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from medino.cli.curation_inputs import curation_inputs
from medino.cli.outputs import output_file
from medino.cli.reading_options import add_reading_options

if TYPE_CHECKING:
    from rich.table import Table

    from medino.curation import Duplicate, Findings, Torn

EXAMPLES = 3
"""So many examples of each finding are shown; the report has all."""

EPILOG = """
What is a leak. (1) Two images that show one thing (the same pixels, or the same picture turned, mirrored, zoomed or
encoded anew) under two patients or in two splits. Alike images of one patient in one split, such as neighbouring
slices, are none. (2) A patient with images in two splits. (3) A study, series or DICOM instance under two patients.
(4) Labels that a fact about the files tells without a look at the image: scanner, size of the file, spacing,
compression, each alone and all together, by a small decision tree cross-validated over patients, against the same
with permuted labels.

The exit status is 0 where nothing was found, 1 where a leak was, 2 where something given can't be used. Examples are
sample ids; the manifest says which file each is.
"""


def configure(parser: ArgumentParser) -> None:
    """Add the options of `medino check`."""
    from medino.curation import CheckSettings

    parser.epilog = EPILOG
    parser.add_argument("cohort", type=str, help="the manifest that medino scan wrote, best with labels and splits")
    parser.add_argument(
        "--features",
        type=str | None,
        help="features of the same manifest (medino embed): their nearest neighbours are compared in pixels too",
    )
    parser.add_argument(
        "-o", "--output", type=str | None, help="a .json file for all findings, each pair by its sample ids"
    )
    parser.add_class_arguments(CheckSettings)
    add_reading_options(parser)


def run(config: Namespace) -> int:
    """Look, say what was found and what to do, and return 1 where that is a leak."""
    from rich.console import Console

    from medino.core import write_json
    from medino.curation import CheckSettings, check_cohort

    output = None if config.output is None else output_file(config.output, ".json")
    manifest, settings, features, workers = curation_inputs(config, CheckSettings)
    findings = check_cohort(manifest, settings, features, workers=workers)
    if output is not None:
        write_json(output, findings.as_json())
    console = Console(highlight=False)
    console.print(findings_table(findings))
    for line in (*details(findings), *remarks(findings, manifest.patient_unit)):
        print(line)
    print("leaks found" if findings.leaks else "no leak found")
    if output is not None:
        print(f"report    {output}")
    return 1 if findings.leaks else 0


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of leak, as it is told.

    Attributes:
        what: its name, in the plural.
        examples: all that were found, a line each.
        advice: what to do.
    """

    what: str
    examples: list[str]
    advice: str


def kinds(findings: "Findings") -> list[Kind]:
    """What was looked for, and what was found of it."""

    def pairs(chosen: list["Duplicate"]) -> list[str]:
        return [f"{pair.first} and {pair.second}: {pair.kind}, {pair.similarity:.2f}" for pair in chosen]

    def torn(chosen: tuple["Torn", ...]) -> list[str]:
        return [f"{each.what} of {' and '.join(each.samples[:2])}" for each in chosen]

    return [
        Kind(
            "pairs of images that show one thing, in two splits",
            pairs([pair for pair in findings.duplicates if pair.across_splits]),
            "drop the copies in train (medino curate), or put both into one split",
        ),
        Kind(
            "pairs of images that show one thing, under two patients",
            pairs([pair for pair in findings.duplicates if pair.across_patients]),
            "find out whose they are and scan again with patients in the labels' CSV, or drop one (medino curate)",
        ),
        Kind("patients in two splits", torn(findings.torn_patients), "give each patient one split, and scan again"),
        Kind(
            "studies, series or instances under two patients",
            torn(findings.shared),
            "correct the patients in the labels' CSV or the --patient-pattern, and scan again",
        ),
        Kind(
            "facts about the files that tell the label",
            [
                f"{each.fact}: balanced accuracy {each.accuracy:.2f} [{each.low:.2f}, {each.high:.2f}], "
                f"by chance {each.by_chance:.2f}, {each.patients:,} patients"
                for each in findings.shortcuts
                if each.leak
            ],
            "a model can learn them: take as many of each label from each scanner (or the like), or study within one",
        ),
    ]


def findings_table(findings: "Findings") -> "Table":
    """How many of each kind of leak."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("found", justify="right")
    table.add_column(f"in {findings.images:,} images of {findings.patients:,} patients")
    for kind in kinds(findings):
        table.add_row(f"{len(kind.examples):,}", kind.what)
    return table


def details(findings: "Findings") -> list[str]:
    """Examples of what was found, and what to do."""
    lines = []
    for kind in kinds(findings):
        if kind.examples:
            lines += [f"{kind.what}:", *(f"  {example}" for example in kind.examples[:EXAMPLES])]
            if len(kind.examples) > EXAMPLES:
                lines.append(f"  and {len(kind.examples) - EXAMPLES:,} more (all are in the report of -o)")
            lines.append(f"  what to do: {kind.advice}")
    return lines


def remarks(findings: "Findings", patient_unit: str) -> list[str]:
    """What was not looked at, and what is worth knowing without being a leak."""
    lines = []
    hints = [shortcut for shortcut in findings.shortcuts if shortcut.told and not shortcut.leak]
    if hints:
        facts = ", ".join(f"{each.fact} {each.accuracy:.2f} [{each.low:.2f}, {each.high:.2f}]" for each in hints)
        lines.append(f"says a little about the label, by balanced accuracy (chance {hints[0].by_chance:.2f}): {facts}")
    if not findings.shortcuts:
        lines.append("shortcuts not looked for: that takes two labels with 10 patients each, and facts that differ")
    if not findings.splits:
        lines.append("not split yet: copies across splits can't be told")
    if patient_unit != "patient":
        lines.append(f"where the patient is not known, another stands for them: {patient_unit.replace('+', ' or ')}")
    if findings.unreadable:
        lines.append(f"{findings.unreadable:,} images can't be decoded and were not compared")
    if findings.empty:
        lines.append(f"{findings.empty:,} blank or clipped images were not compared: they are alike by themselves")
    return lines
