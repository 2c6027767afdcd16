"""A batch that does not come ends the training and says which records hang."""

import threading

import pytest

from laminate.data.augment import CenterCrop
from laminate.data.batch_timeout import BatchTimeout, InputStalledError, ReadsInFlight
from laminate.data.evaluation import evaluation_batches
from laminate.data.loader import TrainLoader


class Hanging:
    """Records of which one is never read to its end, or breaks, until `release` is set."""

    def __init__(self, records, bad: int, error: Exception | None = None):
        self.manifest = records.manifest
        self.release = threading.Event()
        self._records, self._bad, self._error = records, bad, error

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int):
        if index == self._bad:
            if self._error is not None:
                raise self._error
            self.release.wait(60.0)
        return self._records[index]


def everything(records, timeout: float):
    return evaluation_batches(records, global_batch_size=4, augment=CenterCrop(6), threads=2, timeout=timeout)


def endless(records, timeout: float):
    return TrainLoader(
        records, seed=3, global_batch_size=4, augment=CenterCrop(6), threads=2, timeout=timeout
    ).batches()


@pytest.mark.parametrize("read", [everything, endless])
def test_a_record_that_hangs_is_named_when_the_time_is_over(painted, read):
    records = Hanging(painted(11), bad=6)
    message = r"no batch from painted for 0 s; being read are record 6 for \d+ s.*--data-timeout waits longer"
    batches = read(records, 0.4)
    try:
        with pytest.raises(InputStalledError, match=message):
            for _ in range(4):
                next(batches)
        batches.close()  # does not wait for the thread that hangs
    finally:
        records.release.set()


@pytest.mark.parametrize("read", [everything, endless])
def test_the_error_of_a_thread_that_reads_is_the_error_of_the_batch(painted, read):
    records = Hanging(painted(11), bad=6, error=ZeroDivisionError("a fault of the program"))
    batches = read(records, 30.0)
    with pytest.raises(ZeroDivisionError, match="a fault of the program"):
        for _ in range(4):
            next(batches)
    batches.close()


def test_an_error_that_is_itself_a_timeout_is_passed_on():
    in_time = BatchTimeout(5.0, ReadsInFlight(), "nowhere")

    def fail():
        raise TimeoutError("the disk gave up")

    with pytest.raises(TimeoutError, match="the disk gave up"):
        in_time(fail)
    assert in_time(lambda: 3) == 3
    in_time.close()


def test_without_a_record_under_way_the_readers_have_ended():
    assert "have ended" in ReadsInFlight().slowest()
