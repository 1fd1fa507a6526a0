"""What the audit says of real architectures with their own initialization: timm, transformers.

    python benchmarks/audit_zoo.py timm            # one small model of each of timm's modules
    python benchmarks/audit_zoo.py transformers

Prints every error and warning, and a line with the sums. Needs timm (`make test-zoo` installs it)
or transformers; models that the installed release lacks are counted apart.
"""

from __future__ import annotations

import argparse
import gc
import sys
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import torch
from audit_sound_models import SOUND_MODELS
from sound_models.entry import SoundModel
from sound_models.zoo import NotInstalled

import fanin


def audit_one(model: SoundModel, seed: int) -> list[tuple[str, str]]:
    """Prints the errors and warnings of one model, and gives their codes and severities."""
    case = model.build(seed)
    audit = fanin.audit(case.model, case.batch, target=case.target, loss=case.loss)
    for note in audit.notes:
        print(f"{model.name:36} {note}", flush=True)
    found = [one for one in audit.findings if one.severity != "note"]
    for one in found:
        also = f" and {len(one.also)} more" if one.also else ""
        print(f"{model.name:36} {one.severity} {one.code} {one.where}{also}: {one.summary}")
    if audit.measurement is None:
        return [("not measured", "error")]
    return [(one.code, one.severity) for one in found]


def main() -> None:
    """Audit all families of one package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", choices=["timm", "transformers"])
    parser.add_argument("names", nargs="*", help="only the models whose name has one of these")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    chosen = [
        one
        for one in SOUND_MODELS.values()
        if one.name.startswith(options.package)
        and (not options.names or any(part in one.name for part in options.names))
    ]
    missing = []
    severities: Counter[str] = Counter()
    codes: Counter[tuple[str, str]] = Counter()
    for model in chosen:
        try:
            found = audit_one(model, options.seed)
        except NotInstalled as error:
            missing.append(f"{model.name} ({error})")
            continue
        codes.update(found)
        severities[min((severity for _, severity in found), default="sound")] += 1
        gc.collect()
    print("not here:", "; ".join(missing) or "none")
    print("by code:", dict(codes))
    print(
        f"{len(chosen) - len(missing)} models: {severities['error']} with an error, "
        f"{severities['warning']} with warnings only, {severities['sound']} with neither"
    )


if __name__ == "__main__":
    main()
