import tempfile
from pathlib import Path
from tests.mutants.mutant import all_mutants, Outdated
for m in all_mutants():
    with tempfile.TemporaryDirectory() as d:
        try: m.plant(Path(d))
        except Outdated as e: print(e)
