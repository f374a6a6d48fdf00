import threading

import pytest
import torch

from nucleosynth.slides.lanes import Lanes


@pytest.mark.parametrize("threads", [1, 2, 3, 9])
def test_results_come_in_order_with_no_more_batches_drawn_than_are_needed(threads):
    drawn = []

    def batches():
        for number in range(20):
            drawn.append(number)
            yield torch.tensor([number])

    lanes = Lanes(lambda batch: batch * 10, threads)
    for number, result in enumerate(lanes.map(batches())):
        assert result.item() == 10 * number
        assert len(drawn) <= number + lanes.count + 1
    assert len(drawn) == 20


def test_batches_are_computed_at_the_same_time_each_by_its_share_of_the_threads():
    here = torch.get_num_threads()
    meeting = threading.Barrier(2, timeout=60)
    shares = []

    def meet(batch):
        meeting.wait()
        shares.append(torch.get_num_threads())
        return batch

    assert len(list(Lanes(meet, 2).map(torch.zeros(6, 1)))) == 6
    assert shares == [1] * 6
    assert torch.get_num_threads() == here


def test_an_error_in_a_lane_arrives():
    def fail(batch):
        raise ValueError("no such layer")

    with pytest.raises(ValueError, match="no such layer"):
        list(Lanes(fail, 2).map(torch.zeros(3, 1)))
