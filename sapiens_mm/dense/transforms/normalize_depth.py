"""The target of relative depth."""
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SapiensNormalizeDepth(BaseTransform):
    """Makes depth relative: ``(d - min) / (max - min)`` over the person in the crop, 0 the nearest, 1 the farthest.

    It stands after all geometry. Pixels without a label, or off ``gt_person_mask`` where there is one, become 0, which
    is no label: the loss passes over the nearest pixel as well, as in the release. A person at one depth, or none, has
    no labels then.

    Required and modified key: ``gt_depth_map`` (H, W) float32.
    """

    def transform(self, results: dict) -> dict:
        depth = results['gt_depth_map']
        person = depth > 0
        if 'gt_person_mask' in results:
            person &= results['gt_person_mask'] > 0
        values = depth[person]
        out = np.zeros(depth.shape, np.float32)
        if len(values) and values.max() > values.min():
            near = values.min()
            out[person] = (values - near) / (values.max() - near)
        results['gt_depth_map'] = out
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
