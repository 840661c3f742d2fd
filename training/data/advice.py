"""What a data set lacks for a certificate, in rows and in dollars."""

from __future__ import annotations

from inference.money.prices import Usage, cost, dollars
from inference.teachers.registry import HAIKU
from training.data.dataset import Dataset
from training.data.sizes import CALIBRATION, Goal

# A prompt with some ten intents and a message of usual length. Many intents with long definitions cost more.
ONE_LABEL = Usage(input_tokens=900, output_tokens=10)


def price(labels: int) -> float:
    """About how many dollars so many labels by Claude Haiku 5.5 cost, asked one by one without a cached prompt."""
    return dollars(labels * cost(HAIKU.partition(":")[2], ONE_LABEL))


def shortfall(data: Dataset, goal: Goal, source: str) -> str | None:
    """Why `goal` cannot be certified with these calibration rows, however good the student is; None where it can."""
    have, need = len(data.trials("calibration")), goal.fewest_trials
    if have >= need:
        return None
    rows = sum(len(data.trials(name)) for name in ("train", "dev", "calibration", "test"))
    told = f"{have} calibration rows ({data.unit}) cannot certify {goal.target:.1%}: at least {need} are needed"
    missing = goal.fewest_rows - rows
    if missing > 0:
        bill = f"about {missing} more labels, ${price(missing):.2f} from Claude Haiku 5.5"
        return f"{told}. What is missing: {bill}; then {_again(source)} divides all rows anew"
    if data.unit == "requests" or rows * CALIBRATION < need:
        return told
    return f"{told}. {_again(source)} would divide these rows anew, with enough for calibration"


def _again(source: str) -> str:
    return f"`python -m training.dataset {source} --resplit`"
