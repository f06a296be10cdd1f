"""Pipelines of the public release as ours."""
from ...utils.config_text import Code
from .model import migrate_codec
from .report import Report, renamed, same

# Of mmpose, which are used as they are but for these names.
_POSE = {
    **same('GetBBoxCenterScale RandomFlip RandomHalfBody RandomBBoxTransform TopdownAffine GenerateTarget '
           'PackPoseInputs'),
    'LoadImage': 'SapiensLoadImage', 'PhotometricDistortion': 'SapiensPhotometricDistortion'}
# What a transform of dense tasks does.
_DENSE = {
    **dict.fromkeys(('LoadImage', 'LoadImageFromFile', 'LoadAnnotations'), 'load'),
    'RandomBackground': 'background',
    'RandomResize': 'scale',
    **dict.fromkeys(('RandomCrop', 'RandomDepthCrop', 'RandomNormalCrop'), 'crop'),
    **dict.fromkeys(('Resize', 'DepthResize', 'NormalResize'), 'resize'),
    **dict.fromkeys(('RandomDepthResizeCompensate', 'RandomNormalResizeCompensate'), 'compensate'),
    **dict.fromkeys(('RandomRotate', 'DepthRandomRotate', 'NormalRandomRotate'), 'rotate'),
    **dict.fromkeys(('RandomFlip', 'DepthRandomFlip', 'NormalRandomFlip'), 'flip'),
    'PhotoMetricDistortion': 'photometric',
    'GenerateDepthTarget': 'depth target',
    'GenerateNormalTarget': 'normal target',
    **dict.fromkeys(('PackSegInputs', 'PackDepthInputs', 'PackNormalInputs'), 'pack'),
}
_GEOMETRY = ('scale', 'crop', 'resize', 'compensate', 'rotate', 'flip')


def migrate_pose_pipeline(pipeline: list[dict], codec: dict, path: str, train: bool, report: Report) -> list:
    """A pipeline of keypoints; ``codec`` is the public one that the variable of that name stands for."""
    out = [dict(type='SapiensSeedSample')] if train else []
    names = []
    for index, step in enumerate(pipeline):
        name, where = step.get('type'), f'{path}.{index}'
        if name == 'Albumentation':
            out += migrate_albumentations(step, codec['input_size'], where, report)
        elif name not in _POSE:
            report.keep(where, f'{name} has no counterpart.')
            out.append(step)
        else:
            new = {**step, 'type': _POSE[name]}
            if 'encoder' in step:
                same_codec = step['encoder'] == codec
                new['encoder'] = Code('codec') if same_codec else migrate_codec(step['encoder'], where, report)
                names += ['UDPHeatmap -> codec'] if same_codec else []
            if tuple(step.get('input_size', ())) == tuple(codec['input_size']):
                new['input_size'] = Code("codec['input_size']")
            names += [f'{name} -> {_POSE[name]}'] if _POSE[name] != name else []
            out.append(new)
    report.change(path, ', '.join(names + ['SapiensSeedSample added'] * train))
    return out


def migrate_albumentations(config: dict, input_size: tuple[int, int], path: str, report: Report) -> list[dict]:
    """Blur, median blur and dropout of one rectangle; ``input_size`` is (W, H)."""
    out = []
    for index, step in enumerate(config.get('transforms', ())):
        where, name = f'{path}.transforms.{index}', step.get('type')
        if name in ('Blur', 'MedianBlur'):
            args = renamed(step, where, {'p': 'prob', 'blur_limit': 'limit', 'always_apply': None}, report)
            limit = args.get('limit', 7)
            sizes = tuple(limit) if isinstance(limit, (list, tuple)) else (3, limit)
            new = dict(type='SapiensRandomBlur', kind='mean' if name == 'Blur' else 'median',
                       prob=args.get('prob', 0.5), kernel_size=sizes)
        elif name == 'CoarseDropout':
            new = _dropout(step, input_size, where, report)
        else:
            new = None
        if new is None:
            report.keep(where, f'{name} of albumentations has no counterpart.')
            out.append(dict(type='Albumentation', transforms=[step]))
        else:
            report.change(where, f'{name} -> {new["type"]}')
            out.append(new)
    return out


def _dropout(config: dict, input_size: tuple[int, int], path: str, report: Report) -> dict | None:
    table = same('max_holes max_height max_width min_holes min_height min_width') | {
        'p': 'prob', 'always_apply': None, 'fill_value': 'fill', 'mask_fill_value': None}
    args = renamed(config, path, table, report)
    highest = args.get('max_height', 8), args.get('max_width', 8)
    lowest = (args.get('min_height') or highest[0]), (args.get('min_width') or highest[1])
    sides = input_size[::-1]
    # Whole numbers are pixels, as in albumentations.
    high, low = ([value if isinstance(value, float) else value / side for value, side in zip(values, sides)]
                 for values in (highest, lowest))
    holes = args.get('max_holes', 8)
    if {holes, args.get('min_holes') or holes} != {1} or args.get('fill'):
        return None
    if high[0] != high[1] or low[0] != low[1]:
        report.drop(path, f'holes of {low[0]:.3g}-{high[0]:.3g} of the height and {low[1]:.3g}-{high[1]:.3g} of the '
                    'width: took those of the height for both')
    return dict(type='SapiensCoarseDropout', size=(low[0], high[0]), prob=args.get('prob', 0.5))


def migrate_dense_train_pipeline(pipeline: list[dict], task: str, path: str, report: Report) -> list[dict]:
    """A training pipeline of parts, depth or normals: what moves pixels becomes one ``SapiensRandomWarp``."""
    steps, before, after, unknown, packing = {}, [], [], [], [dict(type='SapiensPackDense')]
    for index, step in enumerate(pipeline):
        where, role = f'{path}.{index}', _DENSE.get(step.get('type'))
        if role is None:
            report.keep(where, f'{step.get("type")} has no counterpart.')
            unknown.append(step)
        elif role in _GEOMETRY:
            steps.setdefault(role, []).append((where, step))
        elif role == 'pack':
            packing = [_packing(step, where, report)]
        elif role != 'load':
            new = _DENSE_STEPS[role](step, where, report)
            early = role == 'background' and not steps
            (before if early else after).extend([] if new is None else [new])
    warp = migrate_warp(steps, task, path, report)
    report.change(path, 'loading -> SapiensLoadLabels, packing -> SapiensPackDense, SapiensSeedSample added')
    # Labels stay on disk for the warp to read its crop from.
    load = dict(type='SapiensLoadLabels', mmap=True)
    return [dict(type='SapiensSeedSample'), load, *before, warp, *after, *unknown, *packing]


def migrate_warp(steps: dict[str, list[tuple[str, dict]]], task: str, path: str, report: Report) -> dict:
    """One ``SapiensRandomWarp`` for the public steps of a role, each with its place."""
    out = dict(type='SapiensRandomWarp')
    for role, entries in steps.items():
        for where, step in entries[1:]:
            report.keep(where, f'{step["type"]} is the second {role} of the pipeline.')
            out[f'second_{role}'] = step
    found = {role: entries[0] for role, entries in steps.items()}
    for role, convert in (('crop', _crop), ('scale', _scale), ('rotate', _rotate), ('flip', _flip)):
        if role in found:
            where, step = found[role]
            out.update(convert(step, where, task, report))
        else:
            out.update(dict(scale=dict(scale_range=(1., 1.)), rotate=dict(rotate_prob=0.), flip=dict(flip_prob=0.),
                            crop={})[role])
    if 'size' not in out:
        report.keep(path, 'there is no crop to a fixed size, which SapiensRandomWarp makes.')
        out['size'] = None
    if out.get('base_size') == out.get('size'):
        out.pop('base_size', None)
    out['stock_padding'] = True
    if task == 'normal':
        out['normal_interpolation'] = 'nearest'
    if 'resize' in found:
        where, step = found['resize']
        if tuple(step.get('scale', ())[::-1]) != tuple(out.get('size', ())):
            report.keep(where, f'{step["type"]} to {step.get("scale")} (w, h) is not the crop.')
            out['resize'] = step
        else:
            report.change(where, f'{step["type"]} dropped: an image smaller than the crop was stretched, now it is '
                          'padded')
    if 'compensate' in found:
        where, step = found['compensate']
        report.change(where, f'{step["type"]} dropped: SapiensRandomWarp keeps what the labels mean')
    names = ' + '.join(step['type'] for role, (_, step) in found.items() if role not in ('resize', 'compensate'))
    report.change(path, f'{names} -> SapiensRandomWarp')
    return out


def _scale(step: dict, path: str, task: str, report: Report) -> dict:
    args = renamed(step, path, same('scale ratio_range keep_ratio resize_type'), report)
    out = dict(scale_range=tuple(args.get('ratio_range') or (1., 1.)), base_size=tuple(args['scale'][::-1]))
    if args.get('keep_ratio', False) is not True:
        report.keep(f'{path}.keep_ratio', 'got False, but SapiensRandomWarp keeps the ratio of the sides.')
        out['keep_ratio'] = False
    return out


def _crop(step: dict, path: str, task: str, report: Report) -> dict:
    args = renamed(step, path, same('crop_size cat_max_ratio ignore_index'), report)
    return dict(size=tuple(args['crop_size']), cat_max_ratio=args.get('cat_max_ratio', 1.))


def _rotate(step: dict, path: str, task: str, report: Report) -> dict:
    table = {**same('prob degree pad_val seg_pad_val'), 'depth_pad_val': None, 'normal_pad_val': None,
             'center': None, 'auto_bound': None}
    args = renamed(step, path, table, report)
    degree = args['degree']
    low, high = degree if isinstance(degree, (list, tuple)) else (-degree, degree)
    out = dict(rotate_prob=args.get('prob', 1.), rotate_range=float(high))
    if -low != high:
        report.keep(f'{path}.degree', f'got {degree}, but SapiensRandomWarp turns by as much either way.')
        out['degree'] = degree
    if task == 'parts':
        out['corner_label'] = args.get('seg_pad_val', 255)
    value = args.get('pad_val', 0)  # mmseg's default
    out['pad_val'] = tuple(value) if isinstance(value, (list, tuple)) else (value, ) * 3
    return out


def _flip(step: dict, path: str, task: str, report: Report) -> dict:
    args = renamed(step, path, same('prob direction swap_seg_labels'), report)
    if args.get('direction', 'horizontal') != 'horizontal' or isinstance(args.get('prob'), (list, tuple)):
        report.keep(path, f'direction {args.get("direction")} with prob {args.get("prob")}: SapiensRandomWarp '
                    'mirrors left and right alone.')
        return dict(flip_prob=args.get('prob'), direction=args.get('direction'))
    return dict(flip_prob=args.get('prob') or 0.)


def _background(step: dict, path: str, report: Report) -> dict:
    args = renamed(step, path, {'background_images_root': None, 'prob': 'prob'}, report)
    report.change(path, 'RandomBackground -> SapiensRandomBackground')
    report.ask('backgrounds', 'set BACKGROUND_ROOT, or change the line, to a folder of photos without people; or '
               'remove SapiensRandomBackground')
    return dict(type='SapiensRandomBackground', folder=Code('backgrounds'), **args)


def _photometric(step: dict, path: str, report: Report) -> dict:
    report.change(path, 'PhotoMetricDistortion -> SapiensPhotometricDistortion')
    table = same('brightness_delta contrast_range saturation_range hue_delta')
    return dict(type='SapiensPhotometricDistortion', **renamed(step, path, table, report))


def _depth_target(step: dict, path: str, report: Report) -> dict:
    report.change(path, 'GenerateDepthTarget -> SapiensNormalizeDepth')
    return dict(type='SapiensNormalizeDepth', **renamed(step, path, {'background_val': None}, report))


def _normal_target(step: dict, path: str, report: Report) -> None:
    renamed(step, path, {'background_val': None}, report)
    report.change(path, 'GenerateNormalTarget dropped: off the person there is no label')


def _packing(step: dict, path: str, report: Report) -> dict:
    renamed(step, path, {'meta_keys': None}, report)
    return dict(type='SapiensPackDense')


_DENSE_STEPS = {'background': _background, 'photometric': _photometric, 'depth target': _depth_target,
                'normal target': _normal_target}


def migrate_dense_test_pipeline(pipeline: list[dict], path: str, report: Report) -> list[dict]:
    """A test pipeline of parts, depth or normals: predictions are compared at the size of the image."""
    out, unknown = [dict(type='SapiensLoadImage')], []
    for index, step in enumerate(pipeline):
        where, role = f'{path}.{index}', _DENSE.get(step.get('type'))
        if role == 'resize':
            args = renamed(step, where, same('scale keep_ratio'), report)
            if args.get('keep_ratio'):
                report.drop(f'{where}.keep_ratio', 'the ratio of the sides was kept, SapiensResize makes the size of '
                            'the input')
            out.append(dict(type='SapiensResize', size=tuple(args['scale'][::-1])))
        elif role not in ('load', 'pack', 'normal target', 'depth target'):
            report.keep(where, f'{step.get("type")} has no counterpart in a test.')
            unknown.append(step)
    report.change(path, 'loading, resize and packing -> SapiensLoadImage, SapiensResize, SapiensLoadLabels, '
                  'SapiensPackDense')
    return [*out, *unknown, dict(type='SapiensLoadLabels'), dict(type='SapiensPackDense')]


def flip_pairs(pipeline: list[dict]) -> list[tuple[int, int]] | None:
    """The labels that a pipeline exchanges in a mirror image; None where it does not say."""
    for step in pipeline:
        if _DENSE.get(step.get('type')) == 'flip' and step.get('swap_seg_labels') is not None:
            return [tuple(pair) for pair in step['swap_seg_labels']]
    return None
