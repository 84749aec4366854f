"""The command's entry: lists the verbs at once, and imports only the one that is asked for."""

import sys
from collections.abc import Sequence

VERBS = {
    "scan": "headers of DICOM, NIfTI, slides, PNG, JPEG, TIFF and more to a manifest",
    "pack": "decode a manifest's images once, resized and compressed, into shards that training reads fast",
    "convert": "volumes of DICOM series to NIfTI files",
    "check": "find leaks: copies across patients and splits, labels that the scanner or the file's size gives away",
    "curate": "a manifest without blank, clipped and repeated images, balanced by clusters of features",
    "plan": "what a pretraining will take (memory, hours, disk), and which settings suit it (LightningCLI)",
    "fit": "train: pretraining or segmentation, as the configuration says (LightningCLI)",
    "validate": "evaluate a checkpoint on the validation patients (LightningCLI)",
    "test": "evaluate a checkpoint on the test patients (LightningCLI)",
    "predict": "write a checkpoint's predictions (LightningCLI)",
    "embed": "features of a manifest's images by a backbone",
    "fewshot": "the few-shot study: backbones compared on a handful of labelled patients",
    "fewshot_masks": "the same for masks: backbones compared by what the masks of a few patients teach a small head",
    "retrieve": "the images nearest to one, or how often the test images' neighbours have their label",
    "select": "which images to label first: typical and diverse ones",
    "segment": "masks of a folder or series by a trained head, or without labels: NIfTI, PNG, DICOM SEG, overlays",
    "propagate": "a mask of one slice, or of a few, through the volume; nothing is trained",
    "export": "a backbone for other libraries: Hugging Face, timm, Meta's code, ONNX",
    "weights": "published weights by name: list, download, check",
    "bundle": "medino, its wheels and chosen weights in a folder, for a machine without a network",
    "report": "one self-contained HTML file from one or more runs",
    "adapt": "the main job: scan, pretrain, embed, few-shot study, segmentation, report",
    "demo": "`adapt` on a small archive of phantom images that it writes itself",
}
"""Verb and what it does. Each lives in `medino/cli/<verb>.py` (Lightning's own four in `lightning.py`)."""


def usage() -> str:
    """The text of `medino --help`."""
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {text}" for verb, text in VERBS.items()]
    return "\n".join(
        [
            "usage: medino VERB [options]",
            "",
            "Continue DINOv2's pretraining on your own medical images, and measure whether that helped.",
            "",
            "verbs:",
            *lines,
            "",
            "medino VERB --help explains a verb. Start with `medino demo`, then",
            "`medino adapt --data FOLDER --labels LABELS.csv -o RUN`.",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: the words after `medino`; those of the process if None.

    Returns:
        The exit status: 0, or 2 where something given can't be used, or 1 for other failures said in words.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0 if words else 2
    if words[0] == "--version":
        from medino import __version__

        print(f"medino {__version__}")
        return 0
    verb, rest = words[0], words[1:]
    if verb not in VERBS:
        print(f"medino: error: there is no verb {verb!r}; `medino --help` lists them", file=sys.stderr)
        return 2
    # Imported late: what a verb needs takes seconds, what is above must not.
    from medino.cli.dispatch import dispatch

    return dispatch(verb, rest)


if __name__ == "__main__":
    sys.exit(main())
