"""The page on which a person decides about suspect labels: one file, no other is loaded, and nothing is sent."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence

from training.lifecycle.page import escaped
from training.lifecycle.suspects import Suspect

_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; max-width: 80rem }
table { border-collapse: collapse; width: 100% }
td, th { border-bottom: 1px solid #ccc; padding: .5rem; text-align: left; vertical-align: top }
.text { white-space: pre-wrap; overflow-wrap: anywhere; max-width: 36rem }
small { color: #555; display: block }
button { position: sticky; top: 0; font: inherit; padding: .4rem 1rem }
"""
_SCRIPT = """
document.getElementById("save").onclick = () => {
  const lines = [...document.querySelectorAll("tr[data-row]")].map(row => {
    const values = JSON.parse(row.dataset.row);
    values.decision = row.querySelector("select").value || null;
    return JSON.stringify(values);
  });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.join("\\n") + "\\n"], { type: "application/jsonl" }));
  link.download = "decided.jsonl";
  link.click();
};
"""


def page(suspects: Sequence[Suspect], intents: Sequence[str], name: str) -> str:
    """The page as HTML. Every text in it is escaped, and no other script than its own may run."""
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    rows = "\n".join(_row(suspect, intents) for suspect in suspects)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{escaped(name)}: labels to look at</title><style>{_STYLE}</style></head><body>
<h1>{escaped(name)}: {len(suspects)} labels to look at</h1>
<p>Choose an intent where you are sure, the present one too. Then save, and give the file to
<code>python -m training.suspects --name {escaped(name)} --decided decided.jsonl</code>.</p>
<button id="save">Save the decisions</button>
<table><tr><th>message</th><th>label</th><th>why</th><th>right is</th></tr>
{rows}
</table><script>{_SCRIPT}</script></body></html>
"""


def _row(suspect: Suspect, intents: Sequence[str]) -> str:
    first = list(dict.fromkeys((suspect.label, suspect.guess)))
    options = "".join(f"<option>{escaped(name)}</option>" for name in (*first, *(n for n in intents if n not in first)))
    reasons = "".join(f"<small>{escaped(reason)}</small>" for reason in suspect.reasons)
    record = escaped(json.dumps(suspect.to_record(), ensure_ascii=False))
    return (
        f'<tr data-row="{record}"><td class="text">{escaped(suspect.text)}</td>'
        f"<td>{escaped(suspect.label)}<small>{escaped(suspect.labeler)}</small></td><td>{reasons}</td>"
        f'<td><select><option value="">not decided</option>{options}</select></td></tr>'
    )
