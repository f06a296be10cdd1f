"""HTML report of the quickstart: metrics, training curves and visualizations."""
import base64
import html
import io
import json
from pathlib import Path

import cv2
import numpy as np

# Links between COCO's 17 keypoints; green is the person's left, orange the right, blue between them.
_LINKS = ((0, 1, 'b'), (0, 2, 'b'), (1, 3, 'l'), (2, 4, 'r'), (5, 6, 'b'), (5, 7, 'l'), (7, 9, 'l'), (6, 8, 'r'),
          (8, 10, 'r'), (5, 11, 'b'), (6, 12, 'b'), (11, 12, 'b'), (11, 13, 'l'), (13, 15, 'l'), (12, 14, 'r'),
          (14, 16, 'r'))
_COLORS = dict(b=(255, 153, 51), l=(0, 255, 0), r=(0, 128, 255))  # BGR
_POSE_CURVES = dict(loss='loss', acc_pose='PCK on training images')
_DENSE_CURVES = {'seg.loss_ce': 'parts: cross entropy', 'depth.loss_silog': 'depth: SiLog',
                 'normal.loss_cos': 'normals: 1 - cosine'}
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>sapiens_mm quickstart</title>
<style>body{{font:15px/1.5 sans-serif;max-width:1000px;margin:2em auto;padding:0 1em}}table{{border-collapse:collapse}}
td,th{{padding:.2em .9em;border-bottom:1px solid #ccc;text-align:right}}td:first-child,th:first-child{{text-align:left}}
figure{{display:inline-block;margin:.4em}}img{{max-width:100%}}figcaption{{color:#555;font-size:.85em}}</style>
<h1>Quickstart: keypoints, parts, depth and normals of synthetic people</h1>
<p>{summary}</p>
<h2>Metrics on held-out people</h2>{metrics}
<p>"constant" ignores the image: it predicts the most frequent class, one depth, and normals to the viewer. "embedded"
is the model that the package ships, from which training starts.
Depth is in meters after a scale and shift per image. Depth and normals are measured on the person.</p>
<h2>Time</h2>{times}
<h2>Training</h2>
<p>Parts, depth and normals</p><img alt="losses of parts, depth and normals by iteration" src="{dense_curves}">
<p>Keypoints</p><img alt="loss and accuracy of keypoints by iteration" src="{pose_curves}">
<h2>Parts, depth and normals</h2>
<p>Each visualization shows the image, with the labels beside it and the predictions below. Near is yellow; normals
are red to the right, green upwards, blue to the viewer. Depth and normals are shown on the person only.</p>
{dense_images}
<h2>Keypoints</h2>
<p>Left: labels. Right: predictions for the same image. Green is the person's left, orange the right.</p>
{pose_images}
</html>
"""


def write_report(path: Path, head: list[str], rows: list[list[str]], seconds: dict[str, float], folder: Path,
                 num_images: int = 12) -> None:
    """Writes the report as one file with embedded images.

    Args:
        path: The HTML file.
        head: Column titles of the table.
        rows: Rows of the table.
        seconds: Duration of each stage.
        folder: Work dir of the quickstart.
        num_images: Maximum number of visualizations per model.
    """
    data = folder / 'data' / 'test'
    times = _table(['stage', 'seconds'], [[name, f'{value:.0f}'] for name, value in
                                          [*seconds.items(), ('all', sum(seconds.values()))]])
    record = json.loads((data / 'settings.json').read_text())
    summary = (f'Images of {record["size"][0]} x {record["size"][1]} pixels made with sapiens_mm '
               f'{record["sapiens_mm"]}. The people are rendered; these metrics do not apply to photos.')
    path.write_text(_PAGE.format(
        summary=html.escape(summary), metrics=_table(head, rows), times=times,
        dense_curves=_curves(folder / 'run_dense', _DENSE_CURVES),
        pose_curves=_curves(folder / 'run_pose', _POSE_CURVES),
        dense_images=_dense_images(folder / 'images_dense', num_images),
        pose_images=_pose_images(data, folder / 'images_pose', num_images)))


def _table(head: list[str], rows: list[list[str]]) -> str:
    def line(cells, tag):
        return '<tr>' + ''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells) + '</tr>'

    return '<table>' + line(head, 'th') + ''.join(line(row, 'td') for row in rows) + '</table>'


def _inline(content: bytes, kind: str = 'png') -> str:
    return f'data:image/{kind};base64,{base64.b64encode(content).decode()}'


def _curves(run_dir: Path, titles: dict[str, str]) -> str:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curves = {}
    for log in sorted(run_dir.glob('*/vis_data/scalars.json')):  # one for each start of the run, in order
        for line in log.read_text().splitlines():
            record = json.loads(line)
            for name in titles:
                if name in record:
                    curves.setdefault(name, {})[record['step']] = record[name]
    figure = Figure(figsize=(9, 3), layout='constrained')
    FigureCanvasAgg(figure)
    for axes, (name, curve) in zip(figure.subplots(1, max(1, len(curves)), squeeze=False)[0], curves.items()):
        axes.plot(sorted(curve), [curve[step] for step in sorted(curve)])
        axes.set(xlabel='iteration', title=titles[name])
        axes.grid(alpha=0.3)
        if 'loss' in name:
            axes.set_yscale('log')
    content = io.BytesIO()
    figure.savefig(content, format='png', dpi=110)
    return _inline(content.getvalue())


def _dense_images(folder: Path, num: int) -> str:
    figures = []
    for drawn in sorted(folder.rglob('*.png'))[:num]:
        stem = drawn.stem.removeprefix('test_').partition('.')[0]
        figures.append(f'<figure><img alt="labels and predictions of {stem}" src="{_inline(drawn.read_bytes())}">'
                       f'<figcaption>{stem}</figcaption></figure>')
    return ''.join(figures)


def _pose_images(data: Path, predictions: Path, num: int) -> str:
    annotated = json.loads((data / 'annotations' / 'person_keypoints.json').read_text())
    drawn = {path.stem: path for path in predictions.iterdir()}
    figures = []
    for image in annotated['images']:
        stem = Path(image['file_name']).stem
        if stem not in drawn or len(figures) == num:
            continue
        truth = cv2.imread(str(data / 'images' / image['file_name']))
        for annotation in annotated['annotations']:
            if annotation['image_id'] == image['id']:
                _skeleton(truth, np.array(annotation['keypoints']).reshape(-1, 3))
        drawing = cv2.resize(cv2.imread(str(drawn[stem])), truth.shape[1::-1], interpolation=cv2.INTER_AREA)
        content = cv2.imencode('.png', np.hstack([truth, drawing]))[1].tobytes()
        figures.append(f'<figure><img alt="labels and prediction of {stem}" src="{_inline(content)}">'
                       f'<figcaption>{stem}</figcaption></figure>')
    return ''.join(figures)


def _skeleton(image: np.ndarray, points: np.ndarray) -> None:
    for a, b, color in _LINKS:
        if points[a, 2] and points[b, 2]:
            ends = points[[a, b], :2].round().astype(int).tolist()
            cv2.line(image, *ends, _COLORS[color], 1, cv2.LINE_AA)
    for x, y, visibility in points:
        if visibility:
            cv2.circle(image, (round(x), round(y)), 2, (255, 255, 255), -1 if visibility == 2 else 1, cv2.LINE_AA)
