"""Tests of drawings for ControlNet."""
import numpy as np

from sapiens_mm.visualization.openpose import draw_openpose


def make_person(parts=True):
    """A person whose body points are 20 pixels apart on lines, with hands and face beside them."""
    grid = np.stack(np.meshgrid(np.arange(6), np.arange(3)), -1).reshape(-1, 2)
    number = 21 if parts else 0
    return dict(
        pose_keypoints_2d=(40. + 60 * grid, np.ones(18)),
        face_keypoints_2d=(np.array([[200., 400 + index] for index in range(68)])[:68 * parts], np.ones(68 * parts)),
        **{f'hand_{side}_keypoints_2d': (np.array([[x, 300. + 8 * index] for index in range(number)]).reshape(-1, 2),
                                         np.ones(number)) for side, x in (('left', 300), ('right', 400))})


def test_colors_of_points():
    image = draw_openpose((512, 512), [make_person()])
    assert (image.shape, image.dtype) == ((512, 512, 3), np.uint8)
    assert image[40, 40].tolist() == [255, 0, 0]  # nose
    assert image[40, 100].tolist() == [255, 85, 0]  # neck
    assert image[160, 340].tolist() == [255, 0, 85]  # left ear, the last
    assert image[100, 190].tolist() == [0, 153, 51]  # from the right hip to the knee
    assert image[430, 200].tolist() == [255, 255, 255]
    assert image[300, 300].tolist() == image[300, 400].tolist() == [0, 0, 255]
    assert not image[:, 450:].any()


def test_hidden_and_missing_points():
    person = make_person(parts=False)
    points, scores = person['pose_keypoints_2d']
    scores[1:], points[2], points[3] = .1, np.nan, (1e9, 0)
    image = draw_openpose((512, 512), [person])
    assert image[40, 40].tolist() == [255, 0, 0]
    image[35:46, 35:46] = 0
    assert not image.any()
    assert not draw_openpose((30, 40), []).any()
    assert draw_openpose((60, 400), [make_person()]).any()
