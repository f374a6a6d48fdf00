import subprocess
import sys


def test_processes_that_outline_nuclei_start_without_pytorch():
    """It takes seconds to import, which small slides would spend waiting."""
    program = "import sys, nucleosynth.slides.outlining; print({'torch', 'monai', 'mlflow'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
