"""Tests of the released models and their configs."""
import pytest
from mmengine.config import Config

from sapiens_mm.apis.model_config import build_model, released_names
from sapiens_mm.apis.model_zoo import (
    PARAMETERS,
    RELEASED,
    RELEASED_TASKS,
    default_tasks,
    find_released,
    released_config,
    released_file,
    released_tasks,
)
from sapiens_mm.backbones import SapiensViT

CONFIGS = {
    'pose-17': 'sapiens_pose/coco/sapiens_{}-210e_coco-1024x768.py',
    'pose-133': 'sapiens_pose/coco_wholebody/sapiens_{}-210e_coco_wholebody-1024x768.py',
    'pose-308': 'sapiens_pose/goliath/sapiens_{}-210e_goliath-1024x768.py',
    'seg': 'sapiens_seg/goliath/sapiens_{}-200e_goliath-1024x768.py',
    'depth': 'sapiens_depth/render_people/sapiens_{}-200e_render_people-1024x768.py',
    'normal': 'sapiens_normal/render_people/sapiens_{}-200e_render_people-1024x768.py',
    'foreground': 'sapiens_foreground/masks/sapiens_{}-200e_masks-1024x768.py',
}


@pytest.mark.parametrize(('size', 'task', 'value'), [
    ('0.4b', 'depth', "size: got '0.4b'"), ('0.3b', 'pose', "task: got 'pose'"), ('2b', 'pose-308', 'pose-308 .* 2b'),
    ('2b', 'seg-28', 'seg .* 2b'), ('0.3b', 'foreground', 'foreground .* 0.3b')])
def test_not_released(size, task, value):
    with pytest.raises(ValueError, match=value):
        released_file(size, task)


def test_unknown_sizes():
    with pytest.raises(ValueError, match="size: got '3b'"):
        released_tasks('3b')


@pytest.mark.parametrize(('size', 'task', 'source'), [
    ('sapiens_0.3b', 'pretrain', 'facebook/sapiens-pretrain-0.3b/sapiens_0.3b_epoch_1600_clean.pth'),
    ('2B', 'pretrain', 'facebook/sapiens-pretrain-2b/sapiens_2b_epoch_660_clean.pth'),
    ('0.6b', 'pose-308', 'facebook/sapiens-pose-0.6b/sapiens_0.6b_goliath_best_goliath_AP_609.pth'),
    ('1b', 'seg', 'facebook/sapiens-seg-1b/sapiens_1b_goliath_best_goliath_mIoU_7994_epoch_151.pth'),
    ('1b', 'seg-28', 'facebook/sapiens-seg-1b/sapiens_1b_goliath_best_goliath_mIoU_7994_epoch_151.pth'),
    ('1b', 'parts', 'facebook/sapiens-seg-1b/sapiens_1b_goliath_best_goliath_mIoU_7994_epoch_151.pth'),
    ('0.6b', 'depth', 'facebook/sapiens-depth-0.6b/sapiens_0.6b_render_people_epoch_70.pth'),
    ('1b', 'normal', 'facebook/sapiens-normal-1b/sapiens_1b_normal_render_people_epoch_115.pth'),
    ('1b', 'foreground', 'facebook/sapiens-seg-foreground-1b-torchscript/'
     'sapiens_1b_seg_foreground_epoch_8_torchscript.pt2'),
    ('1b', 'pose-17', 'noahcao/sapiens-pose-coco/sapiens_host/pose/checkpoints/sapiens_1b/'
     'sapiens_1b_coco_best_coco_AP_821.pth'),
    ('0.3b', 'pose-133', 'noahcao/sapiens-pose-coco/sapiens_host/pose/checkpoints/sapiens_0.3b/'
     'sapiens_0.3b_coco_wholebody_best_coco_wholebody_AP_620.pth')])
def test_released_file(size, task, source):
    assert released_file(size, task).source == f'hf://{source}'


def test_table():
    assert len(RELEASED) == len(set(RELEASED.values())) == 27
    for (size, task), file in RELEASED.items():
        assert f'sapiens_{size}' in SapiensViT.arch_zoo
        assert find_released(f'/somewhere/{file.path}') == ((size, task) if task in RELEASED_TASKS else None)
        archive = f'{file.path.removesuffix(".pth")}_torchscript.pt2'
        if task in RELEASED_TASKS and task != 'foreground':
            assert find_released(archive) == (size, task)
    assert find_released('sapiens_1b_seg_foreground_epoch_8.pth') is None


def test_default_tasks():
    assert 'foreground' in released_tasks('1b')
    assert default_tasks('1b') == default_tasks('0.3b') == ['pose-308', 'seg', 'depth', 'normal']
    assert default_tasks('2b') == ['pose-133', 'depth', 'normal']  # the others were not released
    assert set(default_tasks('tiny')) == {'pose-17', 'seg', 'depth', 'normal'}


def test_names_of_released_models():
    for task in ('pose-17', 'pose-133', 'pose-308'):
        assert released_names(task)['keypoint_id2name'][0] == 'nose'
    assert released_names('seg')['classes'][2] == 'Face_Neck'


@pytest.mark.parametrize('task', RELEASED_TASKS)
def test_parameters(task):
    built = {size: build_model(Config(released_config(size, task)), 'this')[0]
             for size, released in RELEASED if released == task}
    assert PARAMETERS[task] == {size: sum(parameter.numel() for parameter in model.parameters())
                                       for size, model in built.items()}


@pytest.mark.parametrize('task', RELEASED_TASKS)
@pytest.mark.parametrize('size', ['0.3b', '1b'])
def test_released_configs_equal_the_config_files(root, size, task):
    built = []
    for cfg in (Config(released_config(size, task)), Config.fromfile(root / 'configs' / CONFIGS[task].format(size))):
        model, config = build_model(cfg, 'this')
        codec = getattr(getattr(model, 'head', None), 'decoder', None)
        shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        built.append((str(model), shapes, vars(codec)['scale_factor'].tolist() if codec else None,
                      codec and codec.blur_kernel_size, config['data_preprocessor']['mean'],
                      config['data_preprocessor']['bgr_to_rgb']))
    assert built[0] == built[1]
