"""What is said of a difference is what its interval allows."""

from dataclasses import replace

import pytest

from medino.probes import EvidenceRow, evidence_table
from medino.tracking import Headline, cautions, headline, verdict
from medino.tracking.verdict import beside_others

ROW = EvidenceRow(
    kind="summary",
    task="classification",
    dataset="phantom",
    backbone="adapted",
    features="class",
    probe="logistic",
    unit="image",
    patient_unit="patient",
    shots=20,
    metric="balanced_accuracy",
    value=0.05,
    low=0.01,
    high=0.09,
    patients=80,
    patients_seen=0,
    compared_with="start",
)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.01, 0.09, "Adapted helped:"),
        (-0.09, -0.01, "Adapted harmed:"),
        (-0.02, 0.09, "No difference shown:"),
        (0.0, 0.09, "No difference shown:"),
        (None, None, "Not decided:"),
        (float("nan"), float("nan"), "Not decided:"),
    ],
)
def test_the_sentence_follows_the_interval_and_not_the_mean(low: float, high: float, said: str) -> None:
    sentence = verdict(replace(ROW, low=low, high=high))
    assert sentence.startswith(said)
    assert "against start" in sentence
    assert "80 test patients" in sentence


def test_where_less_is_better_a_decrease_helped() -> None:
    error = replace(ROW, metric="calibration_error")
    assert verdict(error).startswith("Adapted harmed:")
    assert verdict(replace(error, low=-0.09, high=-0.01)).startswith("Adapted helped:")
    assert "0.090 worse to 0.020 better" in verdict(replace(error, low=-0.02, high=0.09))


def test_a_finding_among_many_comparisons_says_what_holm_leaves() -> None:
    among_many = replace(ROW, p_value=0.004, p_holm=0.024, comparisons=6)
    assert verdict(among_many).endswith("Over the 6 comparisons with start in this metric (Holm) p is 0.024.")
    assert "chance alone may have found it" in verdict(replace(among_many, p_holm=0.08))
    assert "Holm" not in verdict(replace(among_many, comparisons=1))
    assert "Holm" not in verdict(replace(among_many, low=-0.01))
    of_masks = replace(among_many, task="segmentation", probe="linear", metric="dice")
    assert "in this metric and class" in verdict(of_masks)
    assert "(linear head, 20 labelled patients" in verdict(of_masks)


def test_chance_is_not_blamed_where_the_resamples_are_too_few_to_rule_it_out() -> None:
    least = 27 * 2 / 1001
    far = replace(ROW, value=0.639, low=0.533, high=0.741, p_value=2 / 1001, p_holm=least, comparisons=27)
    for few in (replace(far, replicates=1000), replace(far, replicates=300, p_resamples=1000)):
        assert "chance" not in verdict(few)
        assert "from 1000 resamples it can't fall below 0.054" in verdict(few)
    # Enough for these: p could have been smaller, and is not.
    for enough in (replace(far, replicates=1080), replace(far, replicates=1000, p_resamples=10_000), far):
        assert verdict(enough).endswith("p is 0.054: among so many, chance alone may have found it.")
    assert "chance" not in verdict(replace(far, replicates=1079))
    assert verdict(replace(far, replicates=1080, p_holm=27 * 2 / 1081)).endswith("p is 0.050.")


def test_no_difference_shown_says_how_much_is_still_possible() -> None:
    assert "0.020 worse to 0.090 better" in verdict(replace(ROW, low=-0.02, high=0.09))


def test_an_interval_without_width_is_not_said_to_leave_nothing_possible() -> None:
    said = verdict(replace(ROW, value=0.0, low=0.0, high=0.0))
    assert said.startswith("No difference shown:")
    assert "still possible" not in said


def test_patients_seen_before_few_patients_and_unknown_patients_are_said() -> None:
    assert cautions(ROW) == []
    said = " ".join(cautions(replace(ROW, patients=12, patients_seen=7, patient_unit="file+patient")))
    assert "7 of 12 test patients were seen" in said
    assert "With 12 test patients" in said
    assert "the file or the patient" in said


def test_patients_that_nobody_can_tell_apart_are_not_called_unseen() -> None:
    assert "Nobody can tell whether test patients were seen" in cautions(replace(ROW, patients_seen=None))[0]


def test_what_a_gain_does_not_beat_is_said_with_it() -> None:
    rows = [
        replace(ROW, compared_with="cnn", value=0.01, low=-0.1, high=0.12),
        replace(ROW, compared_with="unet", value=-0.2, low=-0.3, high=-0.1),
        replace(ROW, compared_with="random", value=0.2, low=0.1, high=0.3),
        replace(ROW, compared_with="pixels", value=0.5, low=None, high=None),
    ]
    assert beside_others(rows) == (
        "On the same patients, adapted beside the others: better than random, +0.200 [+0.100, +0.300]; "
        "worse than unet, −0.200 [−0.300, −0.100]; no difference shown to cnn, +0.010 [−0.100, +0.120]; "
        "not decided against pixels, +0.500 no interval."
    )


def score(backbone: str, value: float, **changes: object) -> EvidenceRow:
    return replace(ROW, **{"backbone": backbone, "value": value, "compared_with": None, **changes})


def test_the_headline_is_chosen_without_looking_at_the_scores() -> None:
    rows = [
        score("thumbnail", 0.99),
        replace(ROW, backbone="thumbnail", value=0.4, low=0.3, high=0.5),
        score("start", 0.6),
        score("start", 0.7, probe="knn"),
        score("adapted", 0.5),
        score("adapted", 0.9, probe="knn"),
        score("adapted", 0.95, shots=5),
        replace(ROW, probe="knn", value=0.2),
        replace(ROW, shots=5, value=0.3),
        replace(ROW, value=-0.1, low=-0.2, high=-0.05),
        score("adapted", 0.3, task="segmentation", metric="dice", target="nodule", shots=None),
        score("adapted", 0.4, task="segmentation", metric="dice", target=None, shots=None),
    ]
    found = headline(evidence_table(rows))
    assert found == Headline(rows[2], rows[4], rows[9], rows[11])
    assert [line.split(":")[0] for line in found.lines()] == [
        "few-shot before",
        "few-shot after",
        "Adapted harmed",
        "segmentation",
    ]


def mask_rows(**given: object) -> list[EvidenceRow]:
    """A study of masks by four, the floor first: each against the pixels, the untrained backbone and the U-Net."""
    dice = {"pixels": 0.1, "random": 0.7, "learned": 0.73, "unet": 0.9}
    features = {"pixels": "pixels", "unet": "pixels"}
    rows = []
    for backbone, value in dice.items():
        for shots, target in ((5, None), (20, "lung"), (20, None)):
            where: dict[str, object] = {
                "task": "segmentation",
                "metric": "dice",
                "probe": "end_to_end" if backbone == "unet" else "linear",
                "features": features.get(backbone, "blocks 5"),
                "shots": shots,
                "target": target,
                **given,
            }
            rows.append(score(backbone, value + shots / 1000, **where))
            rows += [
                score(backbone, value - dice[other], low=0.01, high=0.9, **{**where, "compared_with": other})
                for other in ("pixels", "random", "unet")
                if other != backbone and backbone != "unet"
            ]
    return rows


def test_the_headline_of_masks_is_a_backbone_and_no_floor_beside_the_untrained_one() -> None:
    found = headline(evidence_table(mask_rows()))
    assert (found.before, found.after, found.difference) == (None, None, None)
    assert found.dice is not None
    assert found.dice_before is not None
    assert found.dice_difference is not None
    for row, backbone in ((found.dice, "learned"), (found.dice_before, "random"), (found.dice_difference, "learned")):
        assert (row.backbone, row.shots, row.target) == (backbone, 20, None)
    assert found.dice_difference.compared_with == "random"
    assert found.dice_difference.value == pytest.approx(found.dice.value - found.dice_before.value)
    said = found.lines()
    assert said[0].startswith("segmentation: Dice 0.750 [0.010, 0.090] (learned, linear head")
    assert said[1].startswith("Learned helped: Dice +0.030")
    others = {row.compared_with: (row.backbone, row.shots, row.target) for row in found.dice_others}
    assert others == {"pixels": ("learned", 20, None), "unet": ("learned", 20, None)}
    assert said[2].startswith("On the same patients, learned beside the others: better than pixels, +0.630")


def test_without_an_untrained_one_masks_are_compared_with_the_first_reference_or_the_network() -> None:
    for gone, reference in (({"random"}, "pixels"), ({"random", "pixels"}, "unet")):
        rows = [row for row in mask_rows() if not {row.backbone, row.compared_with} & gone]
        found = headline(evidence_table(rows))
        assert found.dice_difference is not None
        assert found.dice_before is not None
        assert (found.dice_difference.compared_with, found.dice_before.backbone) == (reference, reference)
    alone = headline(evidence_table([row for row in mask_rows() if row.compared_with is None]))
    assert alone.dice is not None
    assert alone.dice.backbone == "learned"


def test_labels_and_masks_have_a_verdict_each() -> None:
    labels = [score("start", 0.6), score("adapted", 0.7), ROW]
    found = headline(evidence_table([*mask_rows(), *labels]))
    assert (found.before, found.after, found.difference) == tuple(labels)
    assert found.dice_difference is not None
    assert [line.split(":")[0] for line in found.lines()][2:] == [
        "Adapted helped",
        "segmentation",
        "Learned helped",
        "On the same patients, learned beside the others",
    ]


def test_a_study_of_one_backbone_has_a_score_and_no_difference() -> None:
    found = headline(evidence_table([score("start", 0.6)]))
    assert (found.before, found.difference, found.dice) == (None, None, None)
    assert found.after is not None
    assert headline(evidence_table([])).lines() == []
