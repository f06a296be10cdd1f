"""Body parts, depth and surface normals: what mmseg's registries need to train, test and draw Sapiens dense models."""
# ruff: noqa: E402
from ..version import require

require('mmseg', '1.0.0', '2.0.0', '1.2.2')
