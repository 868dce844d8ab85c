import io

import pytest

from app.progress import BarProgress, PlainProgress, Stage, format_duration, format_figure, open_progress
from scene3d.events import EventLog, Tee, read_events


class Clock:
    """A clock that only moves when told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.fixture
def plain(stream, clock):
    return PlainProgress(stream, interval_s=5.0, clock=clock)


def test_a_piped_stage_says_its_begin_and_its_end_with_figures(plain, stream, clock):
    plain.start("train", 2000, gaussians=500)
    clock.now_s += 90
    plain.finish("train", gaussians=12345, psnr_db=27.316)
    assert stream.getvalue().splitlines() == [
        "train: 2,000 steps",
        "train: done in 1:30, 12,345 gaussians, psnr 27.32 dB",
    ]


def test_piped_lines_come_at_most_every_few_seconds(plain, stream, clock):
    plain.start("train", 1000)
    for step in range(1, 101):
        clock.now_s += 0.2
        plain.advance("train", step)
    assert len(stream.getvalue().splitlines()) == 1 + 4  # 20 seconds, one line every 5


def test_a_line_tells_place_rate_time_left_and_figures(plain, stream, clock):
    plain.start("train", 100)
    clock.now_s += 5
    plain.advance("train", 50, loss=0.0432)
    assert stream.getvalue().splitlines()[-1] == "train: 50 of 100, 10.0/s, 5 s left, loss 0.0432"


def test_a_resumed_stage_counts_its_rate_from_where_it_began(plain, stream, clock):
    plain.start("train", 100, step=80)
    clock.now_s += 10
    plain.advance("train", 90)
    assert "90 of 100, 1.0/s, 10 s left" in stream.getvalue()


def test_the_rate_follows_what_happened_lately(clock):
    stage = Stage(10_000, {}, clock())
    step = 0
    for pace in (100, 1):
        for _ in range(60):
            clock.now_s += 1
            step += pace
            stage.move(step, {}, clock())
    assert stage.rate(clock()) == pytest.approx(1.0)


def test_a_stage_that_was_never_started_is_ignored(plain, stream):
    plain.advance("ghost", 3)
    plain.finish("ghost")
    assert stream.getvalue() == ""


def test_notes_say_their_level(plain, stream):
    plain.note("read 3 photographs")
    plain.note("one is missing", level="warning")
    assert stream.getvalue().splitlines() == ["read 3 photographs", "warning: one is missing"]


def test_a_closed_pipe_does_not_stop_the_work(clock):
    progress = PlainProgress(Closed(), clock=clock)
    progress.start("train", 10)
    progress.note("still here")
    progress.finish("train")


def test_a_pipe_gets_lines_and_a_terminal_gets_bars(stream):
    with open_progress(stream) as reporter:
        assert isinstance(reporter, PlainProgress)
    with open_progress(Terminal()) as reporter:
        assert isinstance(reporter, BarProgress)


def test_bars_show_stage_count_rate_time_left_and_figures(clock):
    terminal = Terminal()
    bars = BarProgress(terminal, clock=clock)
    bars.start("train", 100)
    clock.now_s += 10
    bars.advance("train", 50, loss=0.25)
    bars.note("kept [brackets] as they are")
    bars.finish("train", gaussians=77)
    bars.close()
    text = terminal.getvalue()
    for piece in ("train", "100/100", "done in 10 s", "77 gaussians", "kept [brackets] as they are"):
        assert piece in text


def test_bars_survive_stages_that_overlap_repeat_or_have_no_steps(clock):
    bars = BarProgress(Terminal(), clock=clock)
    bars.start("a", 0)
    bars.start("b", 5)
    bars.start("a", 2)
    bars.advance("ghost", 1)
    bars.finish("b")
    bars.finish("a")
    bars.finish("a")
    bars.start("c", 1)
    bars.close()
    bars.close()


def test_the_event_log_hears_the_same_as_the_person(tmp_path, plain, stream):
    log = EventLog(tmp_path / "events.jsonl", min_interval_s=0.0)
    both = Tee(log, plain)
    both.start("train", 10)
    both.advance("train", 5, loss=0.5)
    both.note("hello")
    both.finish("train", gaussians=3)
    assert [event["event"] for event in read_events(tmp_path / "events.jsonl")] == [
        "start",
        "advance",
        "note",
        "finish",
    ]
    assert "3 gaussians" in stream.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0 s"), (0.4, "0 s"), (59.4, "59 s"), (60, "1:00"), (187, "3:07"), (3723, "1:02:03")]
)
def test_durations_read_naturally(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("loss", 0.04321, "loss 0.0432"),
        ("psnr_db", 27.316, "psnr 27.32 dB"),
        ("gaussians", 12345, "12,345 gaussians"),
        ("num_points", 4000, "4,000 points"),
        ("best_view", "a.jpg", "best view a.jpg"),
        ("done", True, "done True"),
    ],
)
def test_figures_carry_their_name_and_unit(name, value, text):
    assert format_figure(name, value) == text
