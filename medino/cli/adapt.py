"""`medino adapt`: the main job, from a folder of images to a report."""

from jsonargparse import ArgumentParser, Namespace


def configure(parser: ArgumentParser) -> None:
    """Add the verb's options."""
    from medino.cli.cohort import Source
    from medino.cli.settling import Plan

    parser.add_class_arguments(Source)
    add_output(parser)
    parser.add_class_arguments(Plan)


def add_output(parser: ArgumentParser) -> None:
    """Add the run's folder."""
    parser.add_argument("-o", "--output", type=str, required=True, help="the run's folder; a run that stopped goes on")


def run(config: Namespace) -> None:
    """Adapt, measure, and print where the report is and the numbers that matter."""
    from medino.cli.cohort import Source
    from medino.cli.main_job import main_job
    from medino.cli.settling import Plan
    from medino.data import Tiles

    given = {name: config[name] for name in Source.__dataclass_fields__}
    source = Source(**given | {"tiles": Tiles(**vars(config.tiles))})
    plan = Plan(**{name: config[name] for name in Plan.__dataclass_fields__})
    main_job(config.output, source, plan)
