"""Migration of the public release's pipelines."""
from mmpose.registry import TRANSFORMS as POSE_TRANSFORMS
from mmseg.registry import TRANSFORMS as DENSE_TRANSFORMS

from ...utils.config_text import Code
from ..config_report import ConfigError, Report
from .components import Rule, arguments, convert, no_counterpart
from .model import migrate_codec

# Other transforms of mmpose stay.
_POSE = {'LoadImage': 'SapiensLoadImage', 'PhotometricDistortion': 'SapiensPhotometricDistortion'}
# Decoder and storage of files.
_LOAD = Rule(ignored=('imdecode_backend', 'backend_args', 'file_client_args'))
# By the type of a transform of dense tasks, its role. What moves pixels becomes one SapiensRandomWarp.
_ROLES = {name: role for role, names in dict(
    load=('LoadImage', 'LoadImageFromFile', 'LoadAnnotations'),
    background=('RandomBackground', ),
    scale=('RandomResize', ),
    crop=('RandomCrop', 'RandomDepthCrop', 'RandomNormalCrop'),
    resize=('Resize', 'DepthResize', 'NormalResize'),
    compensate=('RandomDepthResizeCompensate', 'RandomNormalResizeCompensate'),
    rotate=('RandomRotate', 'DepthRandomRotate', 'NormalRandomRotate'),
    flip=('RandomFlip', 'DepthRandomFlip', 'NormalRandomFlip'),
    photometric=('PhotoMetricDistortion', ),
    depth_target=('GenerateDepthTarget', ),
    normal_target=('GenerateNormalTarget', ),
    pack=('PackSegInputs', 'PackDepthInputs', 'PackNormalInputs')).items() for name in names}
_GEOMETRY = ('scale', 'crop', 'resize', 'compensate', 'rotate', 'flip')
# Conversion of the other roles in a training pipeline.
_RULES = dict(
    load=_LOAD,
    background=Rule('SapiensRandomBackground', ('folder', 'prob'), ('background_images_root', )),
    photometric=Rule('SapiensPhotometricDistortion', ('brightness_delta', 'contrast_range', 'saturation_range',
                                                      'hue_delta')),
    depth_target=Rule('SapiensNormalizeDepth', ignored=('background_val', )),
    normal_target=Rule(ignored=('background_val', )),
    pack=Rule(ignored=('meta_keys', )))


def migrate_pose_pipeline(pipeline: list[dict], codec: dict, path: str, train: bool, report: Report) -> list:
    """Returns a keypoint pipeline; ``codec`` is the public one, a variable of the new config."""
    out = [dict(type='SapiensSeedSample')] if train else []
    for index, step in enumerate(pipeline):
        name, where = step.get('type'), f'{path}.{index}'
        if name == 'Albumentation':
            out += [_albumentation(one, codec['input_size'], f'{where}.transforms.{number}', report)
                    for number, one in enumerate(step.get('transforms', ()))]
        elif name not in _POSE and name not in POSE_TRANSFORMS:
            out.append(no_counterpart(step, where, report))
        else:
            new = {**step, 'type': _POSE.get(name, name)}
            if new['type'] != name:
                report.change(where, f'{name} -> {new["type"]}')
            if 'encoder' in step:
                new['encoder'] = Code('codec') if step['encoder'] == codec else \
                    migrate_codec(step['encoder'], where, report)
            if tuple(step.get('input_size', ())) == tuple(codec['input_size']):
                new['input_size'] = Code("codec['input_size']")
            out.append(new)
    if train:
        report.change(path, 'SapiensSeedSample added')
    return out


def _albumentation(step: dict, input_size: tuple[int, int], path: str, report: Report) -> dict:
    """Returns a blur, a median blur or a dropout of one rectangle; ``input_size`` is (W, H)."""
    new, name = None, step.get('type')
    if name in ('Blur', 'MedianBlur'):
        args = arguments(step, path, report, ('p', 'blur_limit'), ('always_apply', ))
        limit = args.get('blur_limit', 7)
        new = dict(type='SapiensRandomBlur', kind='mean' if name == 'Blur' else 'median', prob=args.get('p', 0.5),
                   kernel_size=tuple(limit) if isinstance(limit, (list, tuple)) else (3, limit))
    elif name == 'CoarseDropout':
        new = _dropout(step, input_size, path, report)
    if new is None:
        return dict(type='Albumentation', transforms=[no_counterpart(step, path, report)])
    report.change(path, f'{name} -> {new["type"]}')
    return new


def _dropout(config: dict, input_size: tuple[int, int], path: str, report: Report) -> dict | None:
    sizes = [f'{bound}_{side}' for bound in ('min', 'max') for side in ('holes', 'height', 'width')]
    args = arguments(config, path, report, ('p', 'fill_value', *sizes), ('always_apply', 'mask_fill_value'))
    largest = args.get('max_height', 8), args.get('max_width', 8)
    smallest = args.get('min_height') or largest[0], args.get('min_width') or largest[1]
    # Whole numbers are pixels, as in albumentations.
    high, low = ([value if isinstance(value, float) else value / side for value, side in zip(values, input_size[::-1])]
                 for values in (largest, smallest))
    holes = args.get('max_holes', 8)
    if {holes, args.get('min_holes') or holes} != {1} or args.get('fill_value'):
        return None
    if high[0] != high[1] or low[0] != low[1]:
        report.drop(path, f'holes of {low[0]:.3g}-{high[0]:.3g} of the height and {low[1]:.3g}-{high[1]:.3g} of the '
                    'width: used those of the height for both')
    return dict(type='SapiensCoarseDropout', size=(low[0], high[0]), prob=args.get('p', 0.5))


def migrate_dense_train_pipeline(pipeline: list[dict], task: str, path: str, report: Report) -> list[dict]:
    steps, before, after = {}, [], []
    last = max((index for index, step in enumerate(pipeline) if _ROLES.get(step.get('type')) in _GEOMETRY), default=-1)
    for index, step in enumerate(pipeline):
        where, name = f'{path}.{index}', step.get('type')
        role = _ROLES.get(name)
        if role is None:
            # The warp loads the image.
            after.append(step if index > last and name in DENSE_TRANSFORMS else no_counterpart(step, where, report))
        elif role in steps:
            report.by_hand(where, f'{name} is the second {role} of the pipeline, left out')
        elif role in _GEOMETRY:
            steps[role] = where, step
        else:
            if role == 'background':
                step = {**step, 'folder': Code('backgrounds')}
                report.ask('backgrounds', 'set BACKGROUND_ROOT, or change the line, to a folder of photos without '
                           'people; or remove SapiensRandomBackground')
            elif role == 'normal_target':
                report.change(where, 'GenerateNormalTarget dropped: pixels off the person have no labels')
            new = convert(step, _RULES[role], where, report)
            if new['type']:
                (before if role == 'background' and not steps else after).append(new)
    warp = _warp(steps, task, path, report)
    report.change(path, 'loading -> SapiensLoadLabels, packing -> SapiensPackDense, SapiensSeedSample added')
    # Labels stay on disk for the warp to read its crop from.
    load = dict(type='SapiensLoadLabels', mmap=True)
    return [dict(type='SapiensSeedSample'), load, *before, warp, *after, dict(type='SapiensPackDense')]


def _warp(steps: dict[str, tuple[str, dict]], task: str, path: str, report: Report) -> dict:
    if 'crop' not in steps:
        raise ConfigError(f'{path}: got no crop, expected one to a fixed size; add a RandomCrop')
    where, step = steps['crop']
    args = arguments(step, where, report, ('crop_size', 'cat_max_ratio', 'ignore_index'))
    out = dict(type='SapiensRandomWarp', size=tuple(_needed(step, 'crop_size', where)),
               cat_max_ratio=args.get('cat_max_ratio', 1.))
    mapped = ['crop']
    for role, (convert_step, default) in _WARP_STEPS.items():
        new = convert_step(*steps[role], task, report) if role in steps else None
        out.update(new or default)
        mapped += [role] if new else []
    if out.get('base_size') == out['size']:
        out.pop('base_size')
    out['stock_padding'] = True
    if task == 'normal':
        out['normal_interpolation'] = 'nearest'
    if 'resize' in steps:
        where, step = steps['resize']
        if tuple(step.get('scale', ())[::-1]) != out['size']:
            report.by_hand(where, f'{step["type"]} to {step.get("scale")} (w, h) is not the crop, left out')
        else:
            report.change(where, f'{step["type"]} dropped: it stretched images smaller than the crop, which are now '
                          'padded')
    if 'compensate' in steps:
        where, step = steps['compensate']
        report.change(where, f'{step["type"]} dropped: SapiensRandomWarp adapts the labels')
    names = ' + '.join(step['type'] for role, (_, step) in steps.items() if role in mapped)
    report.change(path, f'{names} -> SapiensRandomWarp')
    return out


def _needed(step: dict, key: str, path: str):
    if key not in step:
        raise ConfigError(f'{path}: got {step["type"]} without {key}, expected it; add it')
    return step[key]


# The functions below return None for settings without a counterpart in SapiensRandomWarp.
def _scale(path: str, step: dict, task: str, report: Report) -> dict | None:
    args = arguments(step, path, report, ('scale', 'ratio_range', 'keep_ratio', 'resize_type'))
    if args.get('keep_ratio', False) is not True:
        report.by_hand(path, f'{step["type"]} left out: SapiensRandomWarp keeps the aspect ratio')
        return None
    return dict(scale_range=tuple(args.get('ratio_range') or (1., 1.)),
                base_size=tuple(_needed(step, 'scale', path)[::-1]))


def _rotate(path: str, step: dict, task: str, report: Report) -> dict | None:
    args = arguments(step, path, report, ('prob', 'degree', 'pad_val', 'seg_pad_val'),
                     ('depth_pad_val', 'normal_pad_val', 'center', 'auto_bound'))
    degree = _needed(step, 'degree', path)
    low, high = degree if isinstance(degree, (list, tuple)) else (-degree, degree)
    if -low != high:
        report.by_hand(path, f'{step["type"]} by {degree} left out: SapiensRandomWarp rotates symmetrically')
        return None
    value = args.get('pad_val', 0)  # mmseg's default
    return dict(rotate_prob=args.get('prob', 1.), rotate_range=float(high),
                **(dict(corner_label=args.get('seg_pad_val', 255)) if task == 'seg' else {}),
                pad_val=tuple(value) if isinstance(value, (list, tuple)) else (value, ) * 3)


def _flip(path: str, step: dict, task: str, report: Report) -> dict | None:
    args = arguments(step, path, report, ('prob', 'direction', 'swap_seg_labels'))
    if args.get('direction', 'horizontal') != 'horizontal' or isinstance(args.get('prob'), (list, tuple)):
        report.by_hand(path, f'{step["type"]} of direction {args.get("direction")} with prob {args.get("prob")} left '
                       'out: SapiensRandomWarp flips horizontally only')
        return None
    return dict(flip_prob=args.get('prob') or 0.)


# By role, the function and the warp's arguments without such a step.
_WARP_STEPS = dict(scale=(_scale, dict(scale_range=(1., 1.))), rotate=(_rotate, dict(rotate_prob=0.)),
                   flip=(_flip, dict(flip_prob=0.)))


def migrate_dense_test_pipeline(pipeline: list[dict], path: str, report: Report) -> list[dict]:
    out = [dict(type='SapiensLoadImage')]
    for index, step in enumerate(pipeline):
        where, name = f'{path}.{index}', step.get('type')
        role = _ROLES.get(name)
        if role == 'resize':
            convert(step, Rule(ignored=('scale', 'keep_ratio')), where, report)
            out.append(dict(type='SapiensResize', size=tuple(_needed(step, 'scale', where)[::-1])))
            if step.get('keep_ratio'):
                report.drop(f'{where}.keep_ratio', 'the aspect ratio was kept, SapiensResize resizes to the size of '
                            'the input')
        elif role == 'load':
            convert(step, _LOAD, where, report)
        elif role is None and name in DENSE_TRANSFORMS:
            out.append(step)
        elif role not in ('pack', 'normal_target', 'depth_target'):
            out.append(no_counterpart(step, where, report))
    report.change(path, 'loading, resize and packing -> SapiensLoadImage, SapiensResize, SapiensLoadLabels, '
                  'SapiensPackDense')
    return [*out, dict(type='SapiensLoadLabels'), dict(type='SapiensPackDense')]


def flip_pairs(pipeline: list[dict]) -> list[tuple[int, int]] | None:
    """Returns the labels that a pipeline swaps in a mirrored image; None if it names none."""
    for step in pipeline:
        if _ROLES.get(step.get('type')) == 'flip' and step.get('swap_seg_labels') is not None:
            return [tuple(pair) for pair in step['swap_seg_labels']]
    return None
