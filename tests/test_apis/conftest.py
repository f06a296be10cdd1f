"""A result, and small models of random weights, as a training leaves them: a config and a checkpoint each."""
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from sapiens_mm.apis import Result
from sapiens_mm.apis.frames import Source
from sapiens_mm.vocabularies.body_parts import PART_COLORS, PART_NAMES

SMALL = """
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64),
        img_size=(64, 48)),
    {heads})
"""
DENSE_HEAD = ("dict(type='SapiensDenseHead', in_channels=32, deconv_out_channels=(16, 8), deconv_kernel_sizes=(4, 4), "
              'conv_out_channels=(8, ), conv_kernel_sizes=(1, )')
RESIZE = "test_dataloader = dict(dataset=dict(type='SapiensDenseDataset', pipeline=[dict(type='SapiensLoadImage'), " \
         "dict(type='SapiensResize', size=(64, 48)), dict(type='SapiensPackDense')]))\n"


def make_result(name='x/a.jpg', kind='image', index=None):
    """A result of noise with a person and all maps."""
    rng = np.random.default_rng(index or 0)
    parts = np.zeros((61, 81), np.uint8)
    parts[10:50, 20:60] = rng.integers(1, 28, (40, 40))
    normal = rng.normal(size=(61, 81, 3)).astype(np.float32)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    mask = parts != 0
    return Result(Source(f'/data/{name}', name, kind), rng.integers(0, 256, (61, 81, 3), dtype=np.uint8), index, 10.,
                  boxes=np.array([[20, 10, 60, 50, .9]], np.float32), maps=dict(
                      parts=parts, depth=(rng.uniform(.2, .9, parts.shape) * mask).astype(np.float32),
                      normal=normal * mask[..., None]),
                  metainfo=dict(seg=dict(classes=PART_NAMES, palette=PART_COLORS)))


def _pose(root, number, folder):
    return f"""
_base_ = '{root}/configs/sapiens_pose/{folder}/sapiens_tiny-210e_{folder}-256x192.py'
codec = dict(type='SapiensUDPHeatmap', input_size=(48, 64), heatmap_size=(12, 16), sigma=2, blur_kernel_size=11)
""" + SMALL.format(heads=f'head=dict(in_channels=32, out_channels={number}, deconv_out_channels=(16, 16), '
                         'conv_out_channels=(16, ), conv_kernel_sizes=(1, ), decoder=codec)')


def _dense(root, kind, heads):
    return f"""
_base_ = ['{root}/configs/_base_/dense_runtime.py', '{root}/configs/_base_/models/sapiens_{kind}.py']
{RESIZE}""" + SMALL.format(heads=heads)


@pytest.fixture(scope='session')
def small_models(root, tmp_path_factory):
    """Name (pose-17, pose-133, pose-308, seg, depth, normal, foreground, multi) -> config and checkpoint."""
    folder = tmp_path_factory.mktemp('models')
    heads = DENSE_HEAD + '{more})'
    texts = {
        'pose-17': _pose(root, 17, 'coco'),
        'pose-133': _pose(root, 133, 'coco_wholebody'),
        'pose-308': _pose(root, 308, 'goliath'),
        'seg': _dense(root, 'seg', 'decode_head=' + heads.format(
            more=", num_classes=28, loss_decode=dict(type='SapiensWeightedCrossEntropyLoss'), _delete_=True")),
        'depth': _dense(root, 'depth', 'decode_head=' + heads.format(more=', _delete_=True')),
        **{task: _dense(root, task, 'decode_head=' + heads.format(more=', _delete_=True'))
           for task in ('normal', 'foreground')},
        'multi': _dense(root, 'multitask', f"heads=dict(_delete_=True, seg={heads.format(more=', num_classes=28')}, "
                        f"depth={heads.format(more='')}, normal={heads.format(more='')})"),
    }
    models = {}
    for name, text in texts.items():
        config, checkpoint = folder / f'{name}.py', folder / f'{name}.pth'
        config.write_text(text)
        cfg = Config.fromfile(config)
        torch.save(dict(state_dict=random_weights(cfg)), checkpoint)
        models[name] = config, checkpoint
    return models


@pytest.fixture(scope='session')
def host_results():
    return _host_results


def _host_results(config, checkpoint, path, boxes=None, flip=False):
    """What mmpose or mmseg makes of an image by the config's own test pipeline."""
    from mmcv.transforms import Compose
    cfg = Config.fromfile(config)
    if cfg.default_scope == 'mmpose':
        from mmpose.registry import MODELS
    else:
        from mmseg.registry import MODELS
    cfg.model.test_cfg = dict(mode='whole', flip_test=flip)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build({**cfg.model, 'backbone': {**cfg.model.backbone, 'init_cfg': None}}).eval()
        if cfg.default_scope == 'mmpose':
            affine = dict(TopdownAffine=dict(input_size=cfg.codec.input_size))
            pipeline = Compose([{**step, **affine.get(step['type'], {})}
                                for step in cfg.test_dataloader.dataset.pipeline])
        else:
            pipeline = Compose(cfg.test_dataloader.dataset.pipeline)
    model.load_state_dict(torch.load(checkpoint, weights_only=False)['state_dict'])
    if cfg.default_scope == 'mmseg':
        from sapiens_mm.vocabularies.body_parts import FLIPPED_PARTS
        samples = [pipeline(dict(img_path=path, flip_indices=FLIPPED_PARTS))]
    else:
        from sapiens_mm.pose.metainfo import get_metainfo
        indices = get_metainfo(model.head.out_channels)['flip_indices']
        samples = [pipeline(dict(img_path=path, bbox=box[None, :4], bbox_score=box[4:], flip_indices=indices))
                   for box in boxes]
    with torch.no_grad():
        return [model.test_step(dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']]))[0]
                for sample in samples]


@pytest.fixture
def trace():
    return _trace


def _trace(model, path, dtype=torch.float32):
    """Writes a model of :func:`sapiens_mm.apis.models.load_model` as the TorchScript archive of its estimator."""
    net, images = model.network.model.to(dtype), torch.zeros(1, 3, *model.input_size, dtype=dtype)
    for layer in model.network.last_layers():
        layer._forward_pre_hooks.clear()  # which make its input float32
    forward = net.forward
    net.forward = lambda images: forward(images, None)
    torch.jit.trace(net, images, strict=False, check_trace=False).save(str(path))
    return path


def random_weights(cfg, seed=0):
    """Weights by which outputs depend on the image, unlike those that a training starts from."""
    if cfg.default_scope == 'mmpose':
        from mmpose.registry import MODELS
    else:
        from mmseg.registry import MODELS
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build({**cfg.model, 'backbone': {**cfg.model.backbone, 'init_cfg': None}})
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and 'pos_embed' not in name:
            torch.nn.init.normal_(parameter, std=.15 if 'backbone' in name else .3)
    return model.state_dict()
