"""The decision log: what was asked, what was answered, by whom, and what it cost."""

from inference.log.database import LogError
from inference.log.decision_log import DecisionLog
from inference.log.rows import Correction, Count, Decision, TeacherAnswer

__all__ = ["Correction", "Count", "Decision", "DecisionLog", "LogError", "TeacherAnswer"]
