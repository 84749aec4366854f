"""`medino demo`: the main job on an archive of phantom images, whose truth is known."""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

PATIENTS, IMAGES_PER_PATIENT, SIZE = 120, 4, 96
"""The archive: 480 images, 40 patients a class, two simulated scanners."""

STEPS, BATCH_SIZE = 120, 32
"""3 840 images seen: some four minutes on two cores."""


def configure(parser: ArgumentParser) -> None:
    """Add the verb's options."""
    from medino.cli.adapt import add_output

    add_output(parser)
    parser.add_argument("--steps", type=int, default=STEPS, help="pretraining steps")
    parser.add_argument("--seed", type=int, default=0, help="of everything random, the phantom included")


def run(config: Namespace) -> None:
    """Write the archive, then do the main job on it."""
    from medino.cli.cohort import Source
    from medino.cli.main_job import main_job
    from medino.cli.settling import Plan
    from medino.data import write_phantom

    archive = write_phantom(
        Path(config.output) / "archive",
        patients=PATIENTS,
        images_per_patient=IMAGES_PER_PATIENT,
        size=SIZE,
        seed=config.seed,
    )
    source = Source(
        data=str(archive.images),
        labels=str(archive.labels),
        masks=str(archive.masks),
        mask_classes={"background": 0, "lung": 1, "finding": 2},
        name="phantom",
    )
    plan = Plan(steps=config.steps, batch_size=BATCH_SIZE, segmentation_steps=200, overlays=6, seed=config.seed)
    main_job(config.output, source, plan)
