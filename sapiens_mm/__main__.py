"""Entry point of ``python -m sapiens_mm``."""
import sys

from sapiens_mm_cli import main

sys.exit(main())
