"""What the experiments of `benchmarks/methods/` share: their records, effects, loop and figures.

An experiment is a file of that folder. Its docstring has four paragraphs, Question, Claim (the
paper's), Protocol and Criterion, written before the experiment ran. It defines `EXPERIMENT` and
ends with ``raise SystemExit(run_command(EXPERIMENT))``.

    python benchmarks/methods/NAME.py           # measures what results/methods/NAME.jsonl lacks
    python benchmarks/methods/NAME.py --fast    # shortened, into runs/methods/

`docs/methods.py` makes the pages of the results.
"""

from experiment.effects import Decision as Decision
from experiment.effects import Effect as Effect
from experiment.effects import decide as decide
from experiment.figures import Line as Line
from experiment.figures import Panel as Panel
from experiment.figures import draw_panels as draw_panels
from experiment.loop import Experiment as Experiment
from experiment.loop import run as run
from experiment.loop import run_command as run_command
from experiment.records import Record as Record
from experiment.records import Records as Records
