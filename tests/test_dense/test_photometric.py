import numpy as np
from mmseg.registry import TRANSFORMS

import sapiens_mm.dense.transforms  # noqa: F401


def test_equals_mmseg():
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    ours = TRANSFORMS.build(dict(type='SapiensPhotometricDistortion'))
    stock = TRANSFORMS.build(dict(type='PhotoMetricDistortion'))
    changed = 0
    for seed in range(60):
        outs = []
        for transform in (ours, stock):
            np.random.seed(seed)
            outs.append(transform(dict(img=image.copy()))['img'])
        np.testing.assert_array_equal(*outs)
        changed += not np.array_equal(outs[0], image)
    assert changed > 40
