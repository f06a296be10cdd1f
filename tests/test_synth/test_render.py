"""Images and labels against values computed by hand."""
import numpy as np
import pytest

pytest.importorskip('mitsuba')

from sapiens_mm.synth import render as R  # noqa: E402
from sapiens_mm.synth.camera import Camera, frame_box  # noqa: E402
from sapiens_mm.synth.color import to_linear  # noqa: E402
from sapiens_mm.synth.extra import set_threads  # noqa: E402
from sapiens_mm.synth.mesh import Mesh  # noqa: E402
from sapiens_mm.vocabularies.body_parts import PART_NAMES  # noqa: E402

from .conftest import (  # noqa: E402
    AMBIENT,
    CAMERAS,
    SIZE,
    degrees,
    look_at,
    pixel_rays,
    pixels,
    sheet,
    sphere,
    sphere_truth,
)

PLAIN = CAMERAS['plain']
WIDE = Camera(PLAIN.intrinsics * [[0.8], [1], [1]], PLAIN.rotation, PLAIN.translation, *SIZE)  # non-square pixels


def assert_sphere(buffers, camera: Camera, center=(0, 0, 0)) -> None:
    """The labels are those of a true sphere; its triangles lie inside, so its rim may be missing."""
    depth, normal, hit = sphere_truth(camera, 0.5, center)
    _, _, sure = sphere_truth(camera, 0.49, center)
    assert 800 < hit.sum() < hit.size
    assert not (buffers.depth > 0)[~hit].any()
    assert (buffers.depth > 0)[sure].all()
    assert (np.abs(buffers.depth - depth) / np.maximum(depth, 1e-9))[sure].max() < 1e-3
    assert degrees(buffers.normal, normal)[sure].max() < 0.5


@pytest.fixture
def scene() -> list:
    """A textured ball on a floor."""
    texture = np.random.default_rng(1).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    return [sphere(40, albedo=texture, roughness=0.4),
            sheet([[-5, -5, -0.5], [5, -5, -0.5], [5, 5, -0.5], [-5, 5, -0.5]], roughness=1.0)]


@pytest.mark.parametrize(('options', 'value'), [
    (dict(lights=[]), 'none'), (dict(samples=0), '0'), (dict(seed=-1), '-1'), (dict(camera=WIDE), 'square'),
    (dict(backdrop=np.zeros((10, 96, 3), np.uint8)), r'\(10, 96, 3\)')])
def test_bad_input_is_refused_before_rendering(scene, options, value):
    with pytest.raises(ValueError, match=value):
        R.render(scene, **(dict(camera=PLAIN, lights=AMBIENT) | options))


@pytest.mark.parametrize('camera', [*CAMERAS.values(), WIDE], ids=[*CAMERAS, 'non-square pixels'])
def test_sphere(camera):
    center = (0.1, 0.0, -0.05)
    buffers = R.label_buffers([sphere(center=center)], camera)
    assert_sphere(buffers, camera, center)
    np.testing.assert_allclose(np.linalg.norm(buffers.normal[buffers.depth > 0], axis=-1), 1, atol=1e-6)
    assert not buffers.normal[buffers.depth == 0].any()
    # Toward the camera along every ray.
    assert ((buffers.normal * pixel_rays(camera) * [1, -1, -1]).sum(-1) < 0)[buffers.depth > 0].all()


@pytest.mark.parametrize('name', CAMERAS)
@pytest.mark.parametrize('front', [True, False])
def test_tilted_plane(name, front):
    camera = CAMERAS[name]
    # In front of the camera, so that it fills every view: nearer on one side and further up.
    corners = np.array([[-9, 9, 3], [9, 9, 5], [9, -9, 9], [-9, -9, 7.0]])
    corners = (corners - camera.translation) @ camera.rotation
    buffers = R.label_buffers([sheet(corners if front else corners[::-1])], camera)
    out = np.cross(corners[1] - corners[0], corners[3] - corners[0])
    out /= np.linalg.norm(out)
    local, at = camera.rotation @ out, camera.transform(corners[:1])[0]
    depth = (local @ at) / (pixel_rays(camera) @ local)
    assert (depth > 0).all()
    assert (np.abs(buffers.depth - depth) / depth).max() < 1e-5
    local = -local * np.sign(local @ at)  # seen from either side it faces the viewer
    assert degrees(buffers.normal, local * [1, -1, -1]).max() < 0.05
    assert (buffers.mesh == 0).all()
    assert set(np.unique(buffers.face)) == {0, 1}


def test_normals_are_red_to_the_right_green_up_and_blue_to_the_viewer():
    buffers = R.label_buffers([sphere()], PLAIN)
    rows, columns = np.nonzero(buffers.person)
    middle = int(rows.mean()), int(columns.mean())
    assert buffers.normal[middle][2] > 0.95
    assert buffers.normal[middle[0], columns.max() - 1][0] > 0.7
    assert buffers.normal[rows.min() + 1, middle[1]][1] > 0.7
    assert buffers.depth[middle] < buffers.depth[buffers.person].mean()


def test_holes_between_triangles_are_closed(monkeypatch):
    """In this view one ray slips through the sphere's front along an edge and meets its back."""
    camera = look_at([-0.20157782204902253, -1.4875354201310964, 1.9991510086817794],
                     [-0.014438325299768877, 0.004173767805350493, -0.04248029778050716], (144, 192), 1.5,
                     roll=339.76851369915266)
    depth, _, _ = sphere_truth(camera, 0.5)
    _, _, sure = sphere_truth(camera, 0.49)

    def wrong() -> int:
        buffers = R.label_buffers([sphere()], camera)
        return int((np.abs(buffers.depth - depth) / np.maximum(depth, 1e-9) > 1e-3)[sure].sum())

    assert wrong() == 0
    monkeypatch.setattr(R, 'ON_CENTER', -1.0)
    if wrong() == 0:
        pytest.skip('this version of Mitsuba has no hole here')


def test_a_border_between_parts_crosses_faces_in_a_straight_line():
    corners = np.array([[-0.5, 0, -0.4], [0.5, 0, -0.4], [0.5, 0, 0.4], [-0.5, 0, 0.4]])
    weights = np.zeros((4, len(PART_NAMES)), np.float32)
    weights[:, 5] = np.array([[1, 0.5, 0.2]]) @ np.array([[0.5] * 4, corners[:, 0], corners[:, 2]])
    weights[:, 9] = 1 - weights[:, 5]
    board = sheet(corners, parts=np.full(2, 9, np.uint8), instance=1, part_weights=weights)
    buffers = R.label_buffers([board], PLAIN)
    rays = PLAIN.rays(pixels(PLAIN).reshape(-1, 2)) * buffers.depth.reshape(-1, 1)
    points = ((rays - PLAIN.translation) @ PLAIN.rotation).reshape(*SIZE, 3)
    side = 0.5 * points[..., 0] + 0.2 * points[..., 2]
    sure = buffers.person & (np.abs(side) > 1e-4)
    assert {5, 9} == set(np.unique(buffers.part[sure]))
    np.testing.assert_array_equal(buffers.part[sure], np.where(side > 0, 5, 9)[sure])
    with pytest.raises(ValueError, match='weights of parts'):
        R.label_buffers([sheet(corners, part_weights=weights[:, :5])], PLAIN)


def test_smooth_normals_that_face_away_give_way_to_the_triangles():
    ball = sphere()
    ball.normals = -ball.normals
    buffers = R.label_buffers([ball], PLAIN)
    assert degrees(buffers.normal, sphere_truth(PLAIN, 0.5)[1])[sphere_truth(PLAIN, 0.49)[2]].max() < 3


def test_indices_parts_and_instances():
    """Many meshes in an order that is neither of names nor of positions, with an empty one and a lit panel."""
    meshes = []
    for i, place in enumerate(np.random.default_rng(0).permutation(12)):
        ball = sphere(6, 0.09, (0.2 * (place % 4) - 0.3, 0, 0.2 * (place // 4) - 0.2), instance=int(place) + 1)
        ball.name = f'{place}'
        ball.parts = ((np.arange(len(ball.faces)) + i) % 28).astype(np.uint8)
        meshes.append(ball)
    meshes.insert(5, Mesh('empty', np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32), np.zeros(0, np.uint8)))
    camera = look_at([0, -2, 0], [0, 0, 0], SIZE, 2.0)
    panel = dict(type='panel', center=[0, 1, 0], target=[0, 0, 0], size=[4, 4], radiance=[3, 3, 3])
    buffers = R.render(meshes, camera, [panel, *AMBIENT], samples=1)
    assert set(np.unique(buffers.mesh)) == set(range(13)) - {5} | {-1}
    # The panel behind is no mesh.
    assert (buffers.mesh[0, 0], buffers.depth[0, 0], buffers.instance[0, 0]) == (-1, 0, 0)
    for i, mesh in enumerate(meshes):
        here = buffers.mesh == i
        if here.any():
            assert (buffers.instance[here] == int(mesh.name) + 1).all()
            faces = buffers.face[here]
            assert (buffers.part[here] == mesh.parts[faces]).all()
            # The visible triangle's middle projects close to the pixel.
            uv, _ = camera.project(mesh.vertices[mesh.faces[faces]].mean(axis=1))
            assert np.abs(uv - pixels(camera)[here]).max() < 6
    assert (buffers.face[buffers.mesh < 0] == -1).all()
    alone = R.label_buffers(meshes, camera)
    np.testing.assert_array_equal(alone.face, buffers.face)
    np.testing.assert_array_equal(alone.mesh, buffers.mesh)


@pytest.mark.parametrize('denoised', [False, True])
def test_same_seed_same_bytes_for_any_number_of_threads(scene, denoised):
    lights = [dict(type='sunsky', sun_direction=[0.4, -0.5, 0.7], turbidity=3.0, sun_scale=1.0, sky_scale=1.0,
                   albedo=0.2), dict(type='panel', center=[-1, -2, 2], target=[0, 0, 0], size=[1, 1],
                                     radiance=[1, 1, 1])]
    made = []
    try:
        for threads, seed in ((1, 5), (2, 5), (7, 5), (1, 6)):
            set_threads(threads)
            made.append(R.render(scene, PLAIN, lights, samples=4, seed=seed, denoised=denoised))
    finally:
        set_threads(2)
    for other in made[1:3]:
        for name in ('rgb', 'alpha', 'depth', 'normal', 'mesh', 'face'):
            np.testing.assert_array_equal(getattr(other, name), getattr(made[0], name))
    assert (made[3].rgb != made[0].rgb).any()
    np.testing.assert_array_equal(made[3].depth, made[0].depth)
    assert set(made[0].seconds) == {'scene', 'labels', 'rgb'}


@pytest.mark.parametrize('denoised', [False, True])
def test_backdrop_keeps_its_bytes_and_mixes_at_edges(scene, denoised):
    photo = np.random.default_rng(2).integers(0, 256, (72, 96, 3), dtype=np.uint8)
    buffers = R.render(scene[:1], PLAIN, AMBIENT, samples=16, backdrop=photo, denoised=denoised)
    away = buffers.alpha == 0
    assert away.mean() > 0.3
    np.testing.assert_array_equal(buffers.rgb[away], photo[away])
    assert ((buffers.alpha > 0) & (buffers.alpha < 1)).any()
    assert (buffers.alpha[sphere_truth(PLAIN, 0.48)[2]] == 1).all()


def test_denoising_removes_noise_keeps_the_texture_and_leaves_the_labels():
    """Two rays per pixel come closer to a clean image than 16 do."""
    texture = np.random.default_rng(1).integers(0, 256, (8, 16, 3), dtype=np.uint8)
    scene = [sphere(40, albedo=texture, roughness=0.4),
             sheet([[-5, -5, -0.5], [5, -5, -0.5], [5, 5, -0.5], [-5, 5, -0.5]], roughness=1.0)]
    lamp = dict(type='panel', center=[-1, -2, 2], target=[0, 0, 0], size=[1, 1], radiance=[3, 3, 3])
    clean, plain, noisy, denoised = (R.render(scene, PLAIN, [lamp, *AMBIENT], samples=samples, denoised=denoised)
                                     for samples, denoised in ((256, False), (16, False), (2, False), (2, True)))

    def error(buffers) -> float:
        return np.sqrt(np.mean((buffers.rgb.astype(float) - clean.rgb)**2))

    assert error(denoised) < error(plain) < error(noisy) / 2
    for name in ('alpha', 'depth', 'normal', 'instance', 'part', 'mesh', 'face'):
        np.testing.assert_array_equal(getattr(denoised, name), getattr(noisy, name))


def test_texture_is_upright_and_srgb():
    """An image on a wall is rendered as it is: u to the right, v up, bytes back to bytes."""
    texture = np.zeros((64, 64, 3), np.uint8)
    texture[:32, :32], texture[:32, 32:], texture[32:, :32] = (200, 100, 100), (100, 200, 100), (100, 100, 200)
    wall = sheet([[-1, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]], albedo=texture, roughness=1.0,
                 uv=np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32))
    buffers = R.render([wall], look_at([0, -4, 0], [0, 0, 0], (64, 64), 2.0), AMBIENT, samples=16, key=0.02)
    red, green, blue = buffers.rgb[16, 16], buffers.rgb[16, 48], buffers.rgb[48, 16]
    assert [color.argmax() for color in (red, green, blue)] == [0, 1, 2]
    # One exposure for all: the channels keep the texture's ratio in linear light.
    linear, expected = to_linear(red), to_linear(np.uint8([200, 100]))
    assert abs(linear[0] / linear[1] / (expected[0] / expected[1]) - 1) < 0.1


def test_an_empty_scene_is_all_background():
    buffers = R.render([], PLAIN, AMBIENT, samples=1)
    assert (buffers.mesh == -1).all()
    assert not buffers.depth.any()
    assert not buffers.person.any()


def test_normals_agree_with_the_gradient_of_depth():
    camera = frame_box(sphere().vertices, (144, 192), 1.5)
    buffers = R.label_buffers([sphere(200)], camera)
    points = pixel_rays(camera) * buffers.depth[..., None]
    along, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
    from_depth = np.cross(down, along)
    from_depth /= np.maximum(np.linalg.norm(from_depth, axis=-1, keepdims=True), 1e-12)
    angle = degrees(from_depth * [1, -1, -1], buffers.normal[1:-1, 1:-1])
    assert np.median(angle[sphere_truth(camera, 0.45)[2][1:-1, 1:-1]]) < 0.5


def test_a_lamp_hides_what_is_behind_it_unless_a_backdrop_does():
    camera = look_at([0, -3, 0], [0, 0, 0], (64, 48), 1.5)
    lamp = dict(type='panel', center=[0, -1, 0], target=[0, 0, 0], size=[0.2, 0.2], radiance=[5, 5, 5])
    hidden = R.render([sphere()], camera, [lamp], samples=1).mesh[32, 24]
    shown = R.render([sphere()], camera, [lamp], samples=1, backdrop=np.zeros((64, 48, 3), np.uint8)).mesh[32, 24]
    assert (hidden, shown) == (-1, 0)


def test_colored_light_is_balanced_on_skin_whatever_the_clothes():
    """A bright cyan hat above a face in its shade is no sign of cyan light."""
    part = np.zeros((4, 8), np.uint8)
    part[:, 4:] = R.SKIN[0]
    albedo = np.where(part[..., None] > 0, [0.6, 0.4, 0.3], [0.05, 0.6, 0.7])
    light = np.array([0.5, 1.0, 2.0])
    linear = albedo * light * np.where(part[..., None] > 0, 0.1, 1.0)
    buffers = R.Buffers(None, None, None, None, np.ones((4, 8), np.uint8), part, np.zeros((4, 8), int), None)

    def cast(image) -> float:
        left = (image / albedo)[part > 0].mean(axis=0)
        return np.log(left.max() / left.min())

    assert cast(R.balance(linear, buffers, albedo)) < 0.5 * cast(linear)
    # White light on persons alone stays, and so does a black image.
    np.testing.assert_allclose(R.balance(albedo, buffers, albedo), albedo, rtol=1e-6)
    buffers.part = np.zeros((4, 8), np.uint8)
    np.testing.assert_allclose(R.balance(albedo, buffers, albedo), albedo, rtol=1e-6)
    assert not R.balance(np.zeros((4, 8, 3)), buffers, albedo).any()


def test_light_skin_beside_dark_clothes_does_not_turn_white():
    part = np.zeros((4, 20), np.uint8)
    part[:, :1] = R.SKIN[0]
    buffers = R.Buffers(None, None, None, None, np.ones((4, 20), np.uint8), part, np.zeros((4, 20), int), None)
    linear = np.where(part[..., None] > 0, 1.0, 0.02) * np.ones(3)
    out = R.expose(linear, buffers, key=0.3)
    assert out[part > 0].max() <= R.BRIGHT_SKIN


def test_a_bright_sky_stays_blue_and_people_stay_linear():
    person = np.zeros((4, 8), np.uint8)
    person[:, :2] = 1
    buffers = R.Buffers(None, None, None, None, person, None, np.where(person, 0, -1), None)
    linear = np.full((4, 8, 3), 0.2)
    linear[:, 2:] = np.linspace(0.5, 50, 6)[:, None] * [0.4, 0.6, 1.0]
    out = R.expose(linear, buffers, key=0.2)
    np.testing.assert_allclose(out[:, :2], 0.2, rtol=1e-3)
    np.testing.assert_allclose(out[:, 2:], out[:, 2:, 2:] * [0.4, 0.6, 1.0])
    assert (np.diff(out[0, 2:, 2]) > 0).all()
    assert out.max() < 1
