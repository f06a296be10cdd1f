"""A mesh from the true maps of a synthetic person, rendered again by the camera of the image."""
import numpy as np
import pytest

pytest.importorskip('mitsuba')
trimesh = pytest.importorskip('trimesh')

from sapiens_mm.apis.frames import Source  # noqa: E402
from sapiens_mm.apis.result import Result  # noqa: E402
from sapiens_mm.formats.mesh import write_glb  # noqa: E402
from sapiens_mm.synth.camera import Camera, frame_box  # noqa: E402
from sapiens_mm.synth.mesh import Mesh  # noqa: E402
from sapiens_mm.synth.people import build_person, sample_person  # noqa: E402
from sapiens_mm.synth.render import label_buffers  # noqa: E402

SIZE = (640, 480)


@pytest.fixture(scope='module')
def person(body, wardrobe) -> tuple:
    """The labels of a person, and the camera."""
    parameters = sample_person(body, wardrobe, np.random.default_rng(5))
    made = build_person(body, wardrobe, parameters, np.eye(3), np.zeros(3), 1)
    points = np.concatenate([mesh.vertices for mesh in made.meshes])
    camera = frame_box(points, SIZE, 1.2, azimuth=25, elevation=5)
    return label_buffers(made.meshes, camera), camera


def test_a_rendered_mesh_has_the_silhouette_and_the_normals_of_the_image(person, tmp_path):
    buffers, camera = person
    # What a perfect model predicts: depth with another scale and shift, 0 off people.
    depth = np.where(buffers.person, buffers.depth / 7 + .3, 0).astype(np.float32)
    np.save(tmp_path / 'true.npy', buffers.depth)
    result = Result(Source('/data/a.jpg', 'a.jpg'), np.zeros((*SIZE, 3), np.uint8),
                    boxes=np.array([[0, 0, *SIZE[::-1], 1]], np.float32), maps=dict(parts=buffers.part, depth=depth))
    surface = result.surface(focal=camera.intrinsics[0, 0], reference=tmp_path / 'true.npy')
    write_glb(tmp_path / 'a.glb', surface)
    (name, mesh), = trimesh.load_scene(tmp_path / 'a.glb', process=False).geometry.items()
    assert name == 'person_000'
    # glTF's axes become those of the camera.
    mesh = Mesh(name, (mesh.vertices * [1, -1, -1]).astype(np.float32), mesh.faces.astype(np.int32),
                np.ones(len(mesh.faces), np.uint8), 1)
    again = label_buffers([mesh], Camera(camera.intrinsics, np.eye(3), np.zeros(3), *SIZE))
    both = again.person & buffers.person
    assert both.sum() / (again.person | buffers.person).sum() > .98
    assert (again.normal * buffers.normal).sum(-1)[both].mean() > .9
    assert np.abs(again.depth - buffers.depth)[both].max() < 1e-4
    # Faces look to the camera.
    corners = mesh.vertices[mesh.faces]
    assert ((np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) * corners[:, 0]).sum(1) < 0).all()
