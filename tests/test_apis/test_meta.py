"""Tests of what meta.json says."""
import pytest

from sapiens_mm.apis.meta import meta_differences, meta_path, read_meta


@pytest.mark.parametrize('content', ['[1]', '{"models": 5, "protocol": null}', 'no', '{"models": [{}]}',
                                     '{"earlier": 1}'])
def test_a_foreign_meta(tmp_path, content):
    assert read_meta(meta_path(tmp_path)) == {}
    (tmp_path / 'meta.json').write_text(content)
    with pytest.raises(ValueError, match='meta.json'):
        read_meta(meta_path(tmp_path))


def test_meta_differences():
    def meta(sha256='a' * 64, **protocol):
        return dict(models=[dict(tasks=['parts', 'depth'], source='x.pth', sha256=sha256)], boxes_of='none',
                    protocol=dict(flip_test=False, batch_size=4, **protocol))

    assert meta_differences({}, meta()) == ''
    assert meta_differences(meta(), {**meta(batch=2), 'device': 'cpu'}) == ''
    assert meta_differences(meta(), meta('b' * 64)) == (
        'weights of seg aaaaaaaa instead of bbbbbbbb; weights of depth aaaaaaaa instead of bbbbbbbb')
    assert meta_differences(meta(), {**meta(None), 'boxes_of': 'parts'}).endswith(
        'weights of depth aaaaaaaa instead of x.pth; boxes_of none instead of parts')
