import pytest

from sapiens_mm.backbones import SapiensViT
from sapiens_mm.backbones.model_zoo import RELEASED, released_file


@pytest.mark.parametrize(('size', 'task', 'message'), [
    ('0.4b', 'depth', "size is '0.4b', but must be one of 0.3b, 0.6b, 1b, 2b"),
    ('0.3b', 'pose', "task is 'pose', but must be one of pretrain, pose-17, pose-133, pose-308, seg-28, depth, normal"),
    ('2b', 'pose-308', 'pose-308 was not released for 2b, only for 0.3b, 0.6b, 1b'),
    ('2b', 'seg-28', 'seg-28 was not released for 2b'),
])
def test_not_released(size, task, message):
    with pytest.raises(ValueError, match=message):
        released_file(size, task)


@pytest.mark.parametrize(('size', 'task', 'source'), [
    ('sapiens_0.3b', 'pretrain', 'hf://facebook/sapiens-pretrain-0.3b/sapiens_0.3b_epoch_1600_clean.pth'),
    ('2B', 'pretrain', 'hf://facebook/sapiens-pretrain-2b/sapiens_2b_epoch_660_clean.pth'),
    ('0.6b', 'pose-308', 'hf://facebook/sapiens-pose-0.6b/sapiens_0.6b_goliath_best_goliath_AP_609.pth'),
    ('1b', 'seg-28', 'hf://facebook/sapiens-seg-1b/sapiens_1b_goliath_best_goliath_mIoU_7994_epoch_151.pth'),
    ('0.6b', 'depth', 'hf://facebook/sapiens-depth-0.6b/sapiens_0.6b_render_people_epoch_70.pth'),
    ('1b', 'normal', 'hf://facebook/sapiens-normal-1b/sapiens_1b_normal_render_people_epoch_115.pth'),
])
def test_released_file(size, task, source):
    assert released_file(size, task).source == source


@pytest.mark.parametrize(('size', 'task', 'name'), [
    ('1b', 'pose-17', 'sapiens_1b_coco_best_coco_AP_821.pth'),
    ('0.3b', 'pose-133', 'sapiens_0.3b_coco_wholebody_best_coco_wholebody_AP_620.pth'),
])
def test_shared_repository(size, task, name):
    file = released_file(size, task)
    assert file.repo == 'noahcao/sapiens-pose-coco'
    assert file.path.endswith(f'/{name}')


def test_table():
    assert len(RELEASED) == 26
    assert len(set(RELEASED.values())) == 26
    for size, _ in RELEASED:
        assert f'sapiens_{size}' in SapiensViT.arch_zoo
