#!/usr/bin/env python3
"""Makes events.tfevents, which tests/train/test_tb_events.c compares with, by TensorBoard's own protocol buffers and
record writer (pip install tensorboard). Only needed again if the test's records change."""
import os
import sys

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

PNG = bytes(range(200))
T = 1700000000.25


def event(step, value):
    return event_pb2.Event(wall_time=T, step=step, summary=summary_pb2.Summary(value=[value]))


def main():
    records = [
        event_pb2.Event(wall_time=T, file_version="brain.Event:2"),
        event_pb2.Event(wall_time=T, step=8, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START)),
        event(8, summary_pb2.Summary.Value(tag="train/loss", simple_value=3.25)),
        event(300, summary_pb2.Summary.Value(tag="train/loss", simple_value=float("nan"))),
        event(1 << 40, summary_pb2.Summary.Value(tag="train/loss", simple_value=-1e-30)),
        event(9, summary_pb2.Summary.Value(tag="samples/heart", image=summary_pb2.Summary.Image(
            height=64, width=300, colorspace=3, encoded_image_string=PNG))),
    ]
    with open(os.path.join(os.path.dirname(sys.argv[0]), "events.tfevents"), "wb") as file:
        writer = RecordWriter(file)
        for record in records:
            writer.write(record.SerializeToString())
        writer.flush()


main()
