"""Where the data sets of docs/datasets.md keep their files."""
from mmseg.registry import DATASETS

from ...vocabularies.lip import CIHP_NAMES, FLIPPED_LIP, LIP_COLORS, LIP_NAMES
from .folder import SapiensDenseDataset

_SPLITS = dict(train='Training', val='Validation')


@DATASETS.register_module()
class SapiensSyntheticDataset(SapiensDenseDataset):
    """What ``tools/synthesize.py`` writes: parts, depth and normals; metres."""

    FOLDERS = {**SapiensDenseDataset.FOLDERS, 'depth_map_path': 'depth', 'normal_map_path': 'normal'}


@DATASETS.register_module()
class SapiensScanDataset(SapiensSyntheticDataset):
    """What ``tools/dataset_converters/render_scans.py`` writes: depth and normals in metres, no parts.

    The names of rendered scans (THuman2.0 and others, not Hi4D) end in their ``region``.
    """

    TASKS = ('depth', 'normal')
    REGIONS = ('face', 'upper_body', 'full_body')

    def region(self, name: str) -> str | None:
        return next((region for region in self.REGIONS if name.endswith(f'_{region}')), None)


@DATASETS.register_module()
class SapiensTHuman2Dataset(SapiensScanDataset):
    """THuman2.0 as rendered under the paper's protocol: three pictures of each scan, each with its ``region``."""


@DATASETS.register_module()
class SapiensHi4DDataset(SapiensScanDataset):
    """Hi4D's photos with the labels of its scans."""

    METAINFO = dict(**SapiensScanDataset.METAINFO, dataset_name='Hi4D')


@DATASETS.register_module()
class SapiensSynthHumanDataset(SapiensDenseDataset):
    """Microsoft's SynthHuman as it is downloaded: depth (centimetres in the files, metres here) and normals.

    ``rgb_NNNNNNN.png``, ``alpha_*.png``, ``depth_*.exr`` and ``normal_*.exr`` lie in one folder. A sample's number
    tells its ``region``.
    """

    FOLDERS = dict(img_path='', mask_path='', depth_map_path='', normal_map_path='', instance_map_path=None,
                   seg_map_path=None)
    BEGINNINGS = dict(img_path='rgb_', mask_path='alpha_', depth_map_path='depth_', normal_map_path='normal_')
    TASKS = ('depth', 'normal')
    #: Region and the first number after it.
    REGION_ENDS = (('face', 98040), ('full_body', 198016), ('upper_body', 298008))

    def __init__(self, *args, depth_scale: float = 0.01, mask_labels: bool = True, **kwargs):
        super().__init__(*args, depth_scale=depth_scale, mask_labels=mask_labels, **kwargs)

    def region(self, name: str) -> str | None:
        return next((region for region, end in self.REGION_ENDS if name.isdigit() and int(name) < end), None)


@DATASETS.register_module()
class SapiensLIPDataset(SapiensDenseDataset):
    """LIP, single persons: 20 classes.

    Args:
        split: ``train`` or ``val``.
        data_prefix: Other folders than LIP's own.
        kwargs: Those of `SapiensDenseDataset`.
    """

    METAINFO = dict(classes=LIP_NAMES, palette=LIP_COLORS, flip_indices=FLIPPED_LIP)
    TASKS = ('parts', )

    def __init__(self, *args, split: str = 'train', data_prefix: dict | None = None, **kwargs):
        if split not in _SPLITS:
            raise ValueError(self._says(f"split is {split!r}, but must be 'train' or 'val'"))
        super().__init__(*args, data_prefix={**self.folders(split), **(data_prefix or {})}, **kwargs)

    @staticmethod
    def folders(split: str) -> dict:
        """The data set's own folders."""
        return dict(img_path=f'TrainVal_images/{split}_images',
                    seg_map_path=f'TrainVal_parsing_annotations/{split}_segmentations', mask_path=None,
                    instance_map_path=None)


@DATASETS.register_module()
class SapiensCIHPDataset(SapiensLIPDataset):
    """CIHP, several persons in an image: 20 classes, of which class 10 is not LIP's.

    The arguments are LIP's.
    """

    METAINFO = dict(classes=CIHP_NAMES, palette=LIP_COLORS, flip_indices=FLIPPED_LIP)

    @staticmethod
    def folders(split: str) -> dict:
        """The data set's own folders."""
        return dict(img_path=f'{_SPLITS[split]}/Images', seg_map_path=f'{_SPLITS[split]}/Category_ids', mask_path=None,
                    instance_map_path=f'{_SPLITS[split]}/Human_ids')
