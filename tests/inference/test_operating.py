import json
from pathlib import Path

import pytest

from inference.bundle.manifest import SCHEMA, Certificate, IntentCertificate, Manifest, seal
from inference.service.page.operating import curve


def test_a_stop_holds_what_intents_own_certificates_answer_too(tmp_path: Path) -> None:
    pooled = Certificate(0.95, 0.01, 0.6, coverage=0.6, agreement=0.96), Certificate(0.99, 0.01, None)
    own = (
        IntentCertificate(0.99, 0.01, 0.9, coverage=0.2, agreement=1.0, intent="a"),
        IntentCertificate(0.99, 0.01, None, intent="b", lacks=400),
    )
    (tmp_path / "report.json").write_text(json.dumps({"risk_coverage": {"curve": [(0.5, 0.02)]}}))
    seal(tmp_path, Manifest(("a", "b", "c"), 16, schema=SCHEMA, certificates=pooled, intents=own))
    [stop] = curve(tmp_path)[1]
    assert stop == pytest.approx((0.8, 0.97, 0.95))
