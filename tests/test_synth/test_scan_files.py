"""Scans read from files: bad ones, colors, placement and normals."""
import numpy as np
import pytest
from PIL import Image

trimesh = pytest.importorskip('trimesh')

from sapiens_mm.synth.scan_files import Placement, ScanError, check_textures, load_scan  # noqa: E402

from .conftest import BACK, ELLIPSOID, FRONT, ellipsoid, ellipsoid_texture, write_obj, write_thuman  # noqa: E402

TALL = Placement(height=1.7)


@pytest.fixture
def scan(tmp_path):
    """A scan in THuman2.0's layout."""
    return write_thuman(tmp_path / 'set', 1, 8) / '0000/0000.obj'


@pytest.mark.parametrize(('options', 'value'), [
    (dict(up='x'), 'x'), (dict(unit=1.0, height=1.7), '1.7'), (dict(unit=-2.0), '-2.0'), (dict(height=0.0), '0.0')])
def test_bad_placements_are_refused(options, value):
    with pytest.raises(ValueError, match=value):
        Placement(**options)


def test_files_that_are_no_scans_are_refused_in_one_line(tmp_path):
    for name, content, error in (
            ('a.obj', None, FileNotFoundError), ('a.stl', b'solid', ScanError), ('a.glb', b'no glb', ScanError),
            ('b.obj', b'', ScanError), ('c.obj', b'v 0 0 0\nv 1 1 1\n', ScanError),
            ('d.obj', b'v 0 0 0\nv 1 0 1\nv 0 0 1\nf 1 2 3\n', ScanError)):  # flat
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(error, match=name) as caught:
            load_scan(tmp_path / name, allow_untextured=True)
        assert '\n' not in str(caught.value)


def test_a_scan_of_no_persons_size_is_refused(scan):
    with pytest.raises(ScanError, match=r'0000\.obj.*0\.01 m.*--unit'):
        load_scan(scan, Placement(unit=0.01))


def test_scans_without_a_texture_are_refused_with_what_is_missing(scan):
    def refused(missing):
        for read in (lambda: check_textures([scan]), lambda: load_scan(scan, TALL)):
            with pytest.raises(ScanError, match=rf'0000\.obj.*{missing}.*--allow-untextured') as caught:
                read()
            assert '\n' not in str(caught.value)

    (scan.parent / 'material0.jpeg').write_bytes(b'no image')
    refused(r'material0\.jpeg')
    (scan.parent / 'material0.jpeg').unlink()
    refused(r'material0\.jpeg')
    gray, = load_scan(scan, TALL, allow_untextured=True)
    assert gray.albedo == (0.5, 0.5, 0.5)
    (scan.parent / 'material0.mtl').unlink()
    refused(r'material0\.mtl')
    write_obj(scan, *ellipsoid(8)[::2])
    refused('mtllib')


@pytest.mark.parametrize('suffix', ['.obj', '.ply', '.glb'])
def test_colors_are_detected_without_reading_the_whole_scan(tmp_path, suffix):
    vertices, _, faces = ellipsoid(4)
    bare = trimesh.Trimesh(vertices, faces, process=False)
    bare.export(tmp_path / f'bare{suffix}')
    bare.visual = trimesh.visual.ColorVisuals(bare, vertex_colors=np.full((len(vertices), 3), 90, np.uint8))
    bare.export(tmp_path / f'colored{suffix}')
    check_textures([tmp_path / f'colored{suffix}'])
    assert len(load_scan(tmp_path / f'colored{suffix}', TALL)[0].albedo) > 1
    for read in (lambda: check_textures([tmp_path / f'colored{suffix}', tmp_path / f'bare{suffix}']),
                 lambda: load_scan(tmp_path / f'bare{suffix}', TALL)):
        with pytest.raises(ScanError, match='bare'):
            read()


@pytest.mark.parametrize(('suffix', 'colors'), [('.ply', 'vertex'), ('.glb', 'vertex'), ('.glb', 'texture')])
def test_other_formats_give_the_same_mesh_and_colors(tmp_path, suffix, colors):
    vertices, uv, faces = ellipsoid(20)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    if colors == 'vertex':
        front = np.abs(uv[:, :1] - 0.5) < 0.25
        mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=np.where(front, FRONT, BACK).astype(np.uint8))
    else:
        material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(ellipsoid_texture()))
        mesh.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    mesh.export(tmp_path / f'scan{suffix}')
    made, = load_scan(tmp_path / f'scan{suffix}', Placement(height=2.0))
    assert len(made.faces) == len(faces)
    np.testing.assert_allclose(made.vertices.min(axis=0), [-0.4, -0.3, 0], atol=1e-4)
    np.testing.assert_allclose(made.vertices.max(axis=0), [0.4, 0.3, 2], atol=1e-4)
    # Every triangle has its color, looked up as the renderer does.
    middle = made.uv[made.faces].mean(axis=1)
    h, w = made.albedo.shape[:2]
    color = made.albedo[((1 - middle[:, 1]) * h).astype(int).clip(0, h - 1), (middle[:, 0] * w).astype(int) % w]
    y = made.vertices[made.faces].mean(axis=1)[:, 1]
    assert np.abs(color[y < -0.1] - np.array(FRONT)).max() < 3
    assert np.abs(color[y > 0.1] - np.array(BACK)).max() < 3


def test_normals_have_no_seam(tmp_path):
    """The vertices are doubled at the seam and at the poles; their normals must agree with their neighbors'."""
    made, = load_scan(write_thuman(tmp_path, 1) / '0000/0000.obj', Placement(height=1.0))
    true = (made.vertices - [0, 0, 0.5]) / ELLIPSOID[[0, 2, 1]]**2
    true /= np.linalg.norm(true, axis=1, keepdims=True)
    assert np.degrees(np.arccos(np.clip((made.normals * true).sum(-1), -1, 1))).max() < 2


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp', '.tif'])
def test_postscript_is_no_image_of_a_scan(postscript, tmp_path, suffix):
    vertices, uv, faces = ellipsoid(8)
    path = tmp_path / 'scan.obj'
    write_obj(path, vertices * 2, faces, uv, 'mtllib a.mtl\nusemtl a')
    (tmp_path / 'a.mtl').write_text(f'newmtl a\nmap_Kd a{suffix}\n')
    (tmp_path / f'a{suffix}').write_bytes(postscript)
    for read in (load_scan, lambda path: check_textures([path])):
        with pytest.raises(ScanError, match=f'a{suffix}'):
            read(path)


def test_postscript_inside_of_a_scan(postscript, tmp_path):
    vertices, uv, faces = ellipsoid(8)
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(ellipsoid_texture()))
    mesh = trimesh.Trimesh(vertices * 2, faces, visual=trimesh.visual.TextureVisuals(uv, material), process=False)
    path = tmp_path / 'scan.glb'
    content = mesh.export(file_type='glb')
    begin = content.index(b'\x89PNG')
    path.write_bytes(content[:begin] + postscript + content[begin + len(postscript):])
    with pytest.raises(ScanError, match='scan.glb'):
        load_scan(path)
