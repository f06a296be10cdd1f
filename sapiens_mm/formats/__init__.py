"""Labels of people in the formats of labeling tools: COCO, Label Studio, CVAT and YOLO, written and read back."""
