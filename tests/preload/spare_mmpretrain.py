"""What `sapiens_mm` does first when it is imported, for processes that import the hosts without it."""
import importlib.util
from pathlib import Path

_PATH = Path(__file__).resolve().parents[2] / 'sapiens_mm' / 'utils' / 'host_imports.py'
_spec = importlib.util.spec_from_file_location('host_imports', _PATH)
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
_module.spare_mmpretrain()
