import pytest


@pytest.fixture
def own(tmp_path):
    """Writes a config of the user's own, by default RetinaNet on mmdet's."""

    def write(text='', base='mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'):
        path = tmp_path / 'mine' / 'own.py'
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'_base_ = {base!r}\n{text}' if base else text)
        return str(path)

    return write
