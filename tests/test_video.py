import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

import wan_ddp.ffmpeg
import wan_ddp.video
from wan_ddp.errors import BadInputError, DiskFullError, StorageError
from wan_ddp.video import VideoInfo, cover_box, probe, read_clip, write_mp4

WIDTH, HEIGHT, FPS = 160, 96, 15.0


def ffmpeg(*arguments, stdin=b""):
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-threads", "1", *map(str, arguments)]
    return subprocess.run(command, input=stdin, check=True, capture_output=True).stdout


def numbered(num_frames, width=WIDTH, height=HEIGHT):
    """Frames that say which they are: eight bars, lit as the bits of the index, under a strip of noise."""
    random = np.random.default_rng(0)
    frames = np.zeros((num_frames, height, width, 3), np.uint8)
    for index, frame in enumerate(frames):
        for bit in range(8):
            frame[:, bit * width // 8 : (bit + 1) * width // 8] = 235 * (index >> bit & 1)
        frame[: height // 3] = random.integers(0, 256, (height // 3, width, 3))
    return frames


def numbers(frames):
    """The indices that `numbered` put into frames of any size."""
    _, height, width, _ = frames.shape
    bars = frames[:, height // 2 :].reshape(len(frames), height - height // 2, 8, width // 8, 3).mean(axis=(1, 3, 4))
    return [int((bar > 117) @ (1 << np.arange(8))) for bar in bars]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def good(folder):
    """82 numbered frames."""
    write_mp4(folder / "good.mp4", numbered(82), FPS)
    return folder / "good.mp4"


def made_from(source, name, *arguments, before=()):
    path = source.parent / name
    ffmpeg(*before, "-i", source, *arguments, path)
    return path


def read(path, **changes):
    settings = {"num_frames": 81, "width": WIDTH, "height": HEIGHT, "fps": FPS}
    settings |= {"sampling": "frames", "short_reference": "refuse"}
    return read_clip(str(path), **settings | changes)


def raw_frames(path, width, height):
    pixels = ffmpeg("-i", path, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    return np.frombuffer(pixels, np.uint8).reshape(-1, height, width, 3)


def mean_difference(ours, theirs):
    return np.abs(ours.astype(int) - theirs.astype(int)).mean()


def test_the_first_frames_come_one_for_one_and_unchanged(good):
    clip = read(good)
    assert clip.frames.shape == (81, HEIGHT, WIDTH, 3)
    assert clip.frames.dtype == np.uint8
    assert np.array_equal(clip.frames, raw_frames(good, WIDTH, HEIGHT)[:81])
    assert numbers(clip.frames) == list(range(81))
    assert clip.source == VideoInfo(82, FPS, WIDTH, HEIGHT)


def test_a_clip_of_exactly_as_many_frames_is_enough(good):
    assert numbers(read(good, num_frames=82).frames) == list(range(82))


def test_a_clip_one_frame_short_is_refused_with_what_to_do(good):
    short = made_from(good, "80.mp4", "-frames:v", "80", "-c", "copy")
    with pytest.raises(BadInputError) as caught:
        read(short)
    assert str(caught.value) == (
        f"{short}: it has 80 of the 81 frames that the job needs; "
        "use a longer clip, or --short-reference hold|loop|ping-pong|stretch"
    )


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("hold", [0, 1, 2, 2, 2]),
        ("loop", [0, 1, 2, 0, 1]),
        ("ping-pong", [0, 1, 2, 1, 0]),
        ("stretch", [0, 1, 1, 2, 2]),
    ],
)
def test_a_short_clip_is_filled_as_asked(good, policy, expected):
    short = made_from(good, "3.mp4", "-frames:v", "3", "-c:v", "libx264", "-crf", "10")
    assert numbers(read(short, num_frames=5, short_reference=policy).frames) == expected


def test_a_single_frame_is_refused_or_held(good):
    single = made_from(good, "1.mp4", "-frames:v", "1")
    for sampling in ("frames", "time"):
        with pytest.raises(BadInputError, match="--short-reference"):
            read(single, num_frames=5, sampling=sampling)
        assert numbers(read(single, num_frames=5, sampling=sampling, short_reference="hold").frames) == [0] * 5


def test_sampling_by_time_follows_the_timestamps_of_a_variable_rate(good):
    # The first 20 frames as they are, then every third: the frame rate falls from 15 to 5.
    picked = [*range(20), *range(21, 82, 3)]
    variable = made_from(good, "vfr.mp4", "-vf", "select='lt(n,20)+not(mod(n,3))'", "-fps_mode", "vfr", "-crf", "10")
    on_display = [max(index for index in picked if index <= frame) for frame in range(77)]
    assert numbers(read(variable, num_frames=77, sampling="time").frames) == on_display
    assert numbers(read(variable, num_frames=41).frames) == picked[:41]


def test_sampling_by_time_keeps_to_timestamps_finer_than_the_mean_rate(good):
    # As a phone writes 30 fps in low light: intervals of 17 to 22 ticks of 1/600 s.
    phone = ["-vf", "settb=1/600,setpts='20*N+mod(N*7,5)'", "-fps_mode", "passthrough", "-enc_time_base", "1/600"]
    uneven = made_from(good, "phone.mp4", *phone, "-video_track_timescale", "600", "-crf", "10")
    starts = [20 * index + index * 7 % 5 for index in range(82)]
    on_display = [max(index for index in range(82) if starts[index] <= 10 * sample) for sample in range(81)]
    assert numbers(read(uneven, fps=60, sampling="time").frames) == on_display


def test_sampling_by_time_begins_with_the_picture_where_the_sound_begins_earlier(good):
    sound = ["-f", "lavfi", "-i", "sine=duration=2", "-itsoffset", "0.5"]
    late = made_from(good, "late.mkv", "-map", "0", "-map", "1", "-crf", "10", "-frames:v", "9", before=sound)
    assert numbers(read(late, num_frames=9, sampling="time").frames) == list(range(9))


def test_sampling_by_time_thins_out_a_faster_clip_and_refuses_one_that_ends_early(folder):
    write_mp4(folder / "ntsc.mp4", numbered(41), 30000 / 1001)
    assert numbers(read(folder / "ntsc.mp4", num_frames=13, sampling="time").frames) == list(range(0, 26, 2))
    with pytest.raises(BadInputError, match=r"it lasts 1\.37 s of the 1\.67 s .* at 15 fps; .*--short-reference"):
        read(folder / "ntsc.mp4", num_frames=25, sampling="time")


def test_a_trimmed_clip_begins_where_players_begin(good):
    # Its edit list skips 15 frames that are in the file; decord counts them, and repeats the last ones to make them up.
    everything_is_a_keyframe = made_from(good, "intra.mp4", "-g", "1", "-crf", "10")
    trimmed = made_from(everything_is_a_keyframe, "trimmed.mp4", "-c", "copy", before=["-ss", "1"])
    until_now = made_from(good, "gop.mp4", "-g", "100", "-crf", "10")
    edited = made_from(until_now, "edited.mp4", "-c", "copy", before=["-ss", "1"])
    for path in (trimmed, edited):
        assert numbers(read(path, num_frames=65).frames) == list(range(15, 80))
        with pytest.raises(BadInputError, match="it has 67 of the 69 frames"):
            read(path, num_frames=69)


@pytest.mark.parametrize(
    ("degrees", "turns"),
    [(90, 1), (180, 2), (270, 3)],
)
def test_a_rotated_clip_stands_upright(good, degrees, turns):
    rotated = made_from(good, f"{degrees}.mp4", "-c", "copy", before=["-display_rotation", degrees])
    width, height = (WIDTH, HEIGHT) if turns == 2 else (HEIGHT, WIDTH)
    clip = read(rotated, num_frames=5, width=width, height=height)
    upright = np.rot90(raw_frames(good, WIDTH, HEIGHT)[:5], turns, axes=(1, 2))
    assert mean_difference(clip.frames, upright) < 1
    assert (clip.source.width, clip.source.height) == (width, height)


def smooth(num_frames=9, width=WIDTH, height=HEIGHT):
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    frames = [
        np.stack([40 + 180 * across, 40 + 180 * down, np.full_like(across, 60 + 10 * index)], axis=-1)
        for index in range(num_frames)
    ]
    return np.asarray(frames).round().astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("10-bit.mp4", ["-pix_fmt", "yuv420p10le", "-c:v", "libx264", "-crf", "5"]),
        ("hevc-10-bit.mp4", ["-pix_fmt", "yuv420p10le", "-c:v", "libx265", "-x265-params", "log-level=error:crf=5"]),
        ("prores.mov", ["-c:v", "prores_ks"]),
        ("vp9.webm", ["-c:v", "libvpx-vp9", "-crf", "5", "-deadline", "realtime", "-cpu-used", "8"]),
        ("bt709.mkv", ["-vf", "scale=out_color_matrix=bt709", "-colorspace", "bt709", "-crf", "5"]),
        ("full.avi", ["-pix_fmt", "yuvj444p", "-c:v", "mjpeg", "-q:v", "1"]),
    ],
)
def test_other_codecs_depths_and_containers_keep_their_colours(folder, name, arguments):
    write_mp4(folder / "smooth.mp4", smooth(), FPS)
    clip = read(made_from(folder / "smooth.mp4", name, *arguments), num_frames=9)
    assert mean_difference(clip.frames, smooth()) < 4


def test_an_animated_gif_is_read_too(good):
    assert numbers(read(made_from(good, "animation.gif", "-frames:v", "9"), num_frames=9).frames) == list(range(9))


@pytest.mark.parametrize("width", [16, 32, 48, 96, 144])
def test_narrow_frames_whose_rows_decord_pads_come_out_right(folder, width):
    write_mp4(folder / "narrow.mp4", smooth(5, width, 64), FPS)
    clip = read(folder / "narrow.mp4", num_frames=5, width=width, height=64)
    assert np.array_equal(clip.frames, raw_frames(folder / "narrow.mp4", width, 64))


def test_an_odd_size_is_read_whole(folder):
    odd = folder / "odd.mp4"
    even = smooth(5, 162, 98)
    pixels = even[:, :97, :161].tobytes()
    raw = ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", "161x97", "-framerate", "15", "-i", "-"]
    ffmpeg(*raw, "-pix_fmt", "yuv444p", "-crf", "5", odd, stdin=pixels)
    clip = read(odd, num_frames=5)
    assert (clip.source.width, clip.source.height) == (161, 97)
    assert mean_difference(clip.frames, smooth(5)) < 3


def test_a_wider_clip_is_cropped_to_its_centre_and_a_taller_one_too(folder):
    bands = np.zeros((5, 96, 288, 3), np.uint8)
    bands[:, :, :96, 0] = bands[:, :, 96:192, 1] = bands[:, :, 192:, 2] = 200
    for frames in (bands, bands.transpose(0, 2, 1, 3)):
        write_mp4(folder / "bands.mp4", frames, FPS)
        clip = read(folder / "bands.mp4", num_frames=5, width=64, height=64)
        centre = clip.frames[:, 4:-4, 4:-4].mean(axis=(0, 1, 2))
        assert centre[1] > 190
        assert max(centre[0], centre[2]) < 10


def test_pixels_that_are_not_square_are_displayed_as_such(folder):
    bands = np.zeros((5, 96, 144, 3), np.uint8)
    bands[:, :, :48, 0] = bands[:, :, 48:96, 1] = bands[:, :, 96:, 2] = 200
    write_mp4(folder / "square.mp4", bands, FPS)
    wide = made_from(folder / "square.mp4", "wide.mp4", "-vf", "setsar=2", "-crf", "10")
    clip = read(wide, num_frames=5, width=96, height=96)
    assert clip.frames[:, 4:-4, 4:-4, 1].min() > 180


@pytest.mark.parametrize(
    ("source", "wanted", "box"),
    [
        ((832, 480, 1.0), (832, 480), (0, 0, 832, 480)),
        ((1664, 960, 1.0), (832, 480), (0, 0, 1664, 960)),
        ((200, 100, 1.0), (100, 100), (50, 0, 150, 100)),
        ((100, 200, 1.0), (100, 100), (0, 50, 100, 150)),
        ((100, 100, 2.0), (100, 100), (25, 0, 75, 100)),
    ],
)
def test_the_crop_covers_the_target_from_the_centre(source, wanted, box):
    assert cover_box(*source, *wanted) == pytest.approx(box)


def cut(path, name):
    content = path.read_bytes()
    cut_off = path.with_name(name)
    cut_off.write_bytes(content[: len(content) * 6 // 10])
    return cut_off


@pytest.mark.parametrize("num_frames", [81, 5])
def test_a_clip_that_is_cut_off_is_refused_even_if_the_frames_needed_are_there(good, num_frames):
    index_first = cut(good, "cut-index-first.mp4")
    index_last = cut(made_from(good, "index-last.mp4", "-c", "copy"), "cut-index-last.mp4")
    matroska = cut(made_from(good, "whole.mkv", "-c", "copy"), "cut.mkv")
    for path in (index_first, index_last, matroska):
        with pytest.raises(BadInputError, match=rf"{path.name}: it is .*cut off.*; use another file, or encode"):
            read(path, num_frames=num_frames)


@pytest.mark.parametrize("num_bytes", [3, 1000])
def test_a_clip_damaged_in_the_middle_is_refused(good, num_bytes):
    content = bytearray(good.read_bytes())
    middle = len(content) // 2
    for position in range(middle, middle + num_bytes):
        content[position] ^= 0x5A
    damaged = good.with_name("damaged.mp4")
    damaged.write_bytes(content)
    with pytest.raises(BadInputError, match=r"damaged\.mp4: it is damaged"):
        read(damaged)


def test_a_single_damaged_byte_is_noticed_nearly_always(good):
    content = good.read_bytes()
    damaged = good.with_name("byte.mp4")
    noticed = 0
    for position in range(len(content) * 4 // 26, len(content) * 12 // 26, len(content) // 26):
        damaged.write_bytes(content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :])
        try:
            read(damaged)
        except BadInputError:
            noticed += 1
    assert noticed >= 7  # of 8; 5 without strictness


def test_damage_behind_the_frames_needed_does_not_matter(good):
    content = bytearray(good.read_bytes())
    content[-3000:-2000] = bytes(1000)
    damaged = good.with_name("damaged-end.mp4")
    damaged.write_bytes(content)
    assert numbers(read(damaged, num_frames=5).frames) == list(range(5))
    assert len(read(damaged, num_frames=17, sampling="time").frames) == 17
    with pytest.raises(BadInputError, match="it is damaged"):
        read(damaged)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "it is empty"),
        (b"hello world\n" * 100, "not a video file; MP4, MOV"),
        (np.random.default_rng(0).bytes(10000), "not a video file; MP4, MOV"),
        (b"ffconcat version 1.0\nfile good.mp4\n", "not a video file"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:5.4,\ngood.mp4\n#EXT-X-ENDLIST\n", "not a video file"),
        (b"#EXTM3U\n#EXTINF:5.4,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n", "not a video file"),
        (b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n", "not a video file"),
        (b"\0\0\0\x20ftypisom" + bytes(500), "it is cut off"),
    ],
)
def test_what_is_no_video_is_refused(good, content, complaint):
    path = good.with_name("something.mp4")
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=complaint):
        read(path)


def test_sound_alone_is_refused(folder):
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", folder / "sound.mp4")
    with pytest.raises(BadInputError, match="no video in it"):
        read(folder / "sound.mp4")


@pytest.mark.timeout(20)
def test_what_is_no_regular_file_is_refused_without_opening_it(tmp_path):
    os.mkfifo(tmp_path / "fifo.mp4")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "fifo.mp4")
    for path, kind in [(tmp_path, "a folder"), (tmp_path / "fifo.mp4", "pipe"), (tmp_path / "link.mp4", "pipe")]:
        with pytest.raises(BadInputError, match=kind):
            read(path)
    with pytest.raises(BadInputError, match="a device"):
        read("/dev/zero")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(BadInputError, match=r"none\.mp4: it cannot be read: No such file"):
        read(tmp_path / "none.mp4")


def test_names_of_any_kind_are_read(good, tmp_path):
    for name in ["-i 镜头 %03d:'\"\n.mp4", "http:x", os.fsdecode(b"\xff\xfe.mp4")]:
        path = tmp_path / name
        path.write_bytes(good.read_bytes())
        assert numbers(read(path, num_frames=5).frames) == list(range(5))


@pytest.mark.parametrize(
    ("limit", "complaint"),
    [
        ("MAX_FILE_BYTES", "at most 1,000 are read"),
        ("MAX_FRAME_PIXELS", "more than 1,000 pixels"),
        ("MAX_FRAMES_SCANNED", "more than 50 of its frames"),
    ],
)
def test_a_file_above_a_limit_is_refused(good, monkeypatch, limit, complaint):
    value = 50 if "FRAMES" in limit else 1000
    monkeypatch.setattr(wan_ddp.ffmpeg, limit, value)
    monkeypatch.setitem(wan_ddp.ffmpeg._MEANINGS, "max pixel count", f"its frames have more than {value:,} pixels")
    with pytest.raises(BadInputError, match=complaint):
        read(good)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ESHUTDOWN])
def test_trouble_of_the_disk_is_not_taken_for_a_bad_file(good, monkeypatch, number):
    damaged = cut(good, "cut.mp4")
    pread = os.pread

    def failing(descriptor, num_bytes, offset):
        if offset > 0:
            raise OSError(number, os.strerror(number))
        return pread(descriptor, num_bytes, offset)

    monkeypatch.setattr(os, "pread", failing)
    with pytest.raises(StorageError, match=os.strerror(number)):
        read(damaged)
    assert read(good).frames.any()


@pytest.mark.parametrize("fps", [15, 12.5, 29.97, 23.976, 30000 / 1001, 121.742, 240, 0.5, 0.4987, 1e-4, 1e-6])
def test_a_written_video_has_the_frames_size_and_exact_rate_asked_for(tmp_path, fps):
    write_mp4(tmp_path / "video.mp4", smooth(5), fps)
    info = probe(tmp_path / "video.mp4")
    assert info == VideoInfo(5, pytest.approx(fps, rel=1e-6), WIDTH, HEIGHT)


def test_the_longest_and_slowest_video_that_a_job_may_be_can_be_written(tmp_path):
    write_mp4(tmp_path / "video.mp4", np.zeros((1001, 16, 16, 3), np.uint8), 1e-6)
    assert probe(tmp_path / "video.mp4") == VideoInfo(1001, pytest.approx(1e-6, rel=1e-6), 16, 16)


def test_a_written_video_looks_like_its_frames(tmp_path):
    frames = smooth(5, 832, 480)
    write_mp4(tmp_path / "video.mp4", frames, FPS)
    assert probe(tmp_path / "video.mp4") == VideoInfo(5, FPS, 832, 480)
    assert mean_difference(read(tmp_path / "video.mp4", num_frames=5, width=832, height=480).frames, frames) < 2


def test_a_written_video_is_of_the_kind_that_every_player_reads(tmp_path):
    write_mp4(tmp_path / "video.mp4", smooth(5), FPS)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", tmp_path / "video.mp4"]
    described = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    assert "Video: h264 (High)" in described
    assert "yuv420p(tv, smpte170m" in described


def test_a_size_that_is_even_but_no_multiple_of_16_is_kept(tmp_path):
    write_mp4(tmp_path / "video.mp4", smooth(5, 162, 98), FPS)
    assert probe(tmp_path / "video.mp4") == VideoInfo(5, FPS, 162, 98)


def test_a_single_frame_can_be_written(tmp_path):
    write_mp4(tmp_path / "video.mp4", smooth(1), 12.5)
    assert probe(tmp_path / "video.mp4") == VideoInfo(1, 12.5, WIDTH, HEIGHT)


@pytest.mark.parametrize("name", [".片段.mp4.3f-12.tmp", "-f 100%03d:x", "video"])
def test_the_name_of_a_written_video_may_end_in_anything(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_mp4(Path(name), smooth(5), FPS)
    assert probe(name).num_frames == 5
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_same_frames_give_the_same_bytes_with_the_index_first(tmp_path):
    for name in ("a", "b"):
        write_mp4(tmp_path / name, smooth(), FPS)
    content = (tmp_path / "a").read_bytes()
    assert content == (tmp_path / "b").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_frames_that_are_a_view_are_written_as_they_look(tmp_path):
    frames = smooth(5)[:, :, ::-1]
    write_mp4(tmp_path / "video.mp4", frames, FPS)
    assert mean_difference(read(tmp_path / "video.mp4", num_frames=5).frames, frames) < 2


@pytest.mark.parametrize("shape", [(5, 97, 160, 3), (5, 96, 161, 3), (5, 96, 160, 4), (0, 96, 160, 3)])
def test_frames_that_cannot_be_written_are_refused(tmp_path, shape):
    with pytest.raises(ValueError, match="cannot be written"):
        write_mp4(tmp_path / "video.mp4", np.zeros(shape, np.uint8), FPS)


def own_ffmpegs():
    """The ffmpeg processes, zombies too, that this process has started and not waited for."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = status.read_text().rpartition(")")
        except OSError:
            continue
        if "ffmpeg" in name and int(rest.split()[1]) == os.getpid():
            yield name


@pytest.fixture
def full_disk(tmp_path):
    if os.geteuid():
        pytest.skip("mounting a small tmpfs takes root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def test_a_full_disk_is_said_so(full_disk):
    with pytest.raises(DiskFullError, match=r"video\.tmp: it could not be written: .*No space left on device"):
        write_mp4(full_disk / "video.tmp", numbered(30), FPS)
    assert not list(own_ffmpegs())


def test_a_missing_folder_is_said_so(tmp_path):
    with pytest.raises(StorageError, match="No such file or directory") as caught:
        write_mp4(tmp_path / "none" / "video.mp4", smooth(5), FPS)
    assert not isinstance(caught.value, DiskFullError)


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP"])
def test_a_signal_to_every_process_cuts_no_video_short(tmp_path, monkeypatch, name):
    told = tmp_path / "ffmpeg"
    told.write_text(f'#!/bin/sh\nkill -{name} $$\nexec {imageio_ffmpeg.get_ffmpeg_exe()} "$@"\n')
    told.chmod(0o700)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(told))
    write_mp4(tmp_path / "video.mp4", smooth(5), FPS)
    assert probe(tmp_path / "video.mp4").num_frames == 5
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()), "this process hears them as before"


def test_a_written_file_that_is_not_whole_is_the_storages_fault(good):
    with pytest.raises(StorageError, match="cut off"):
        probe(cut(good, "written.mp4"))
    with pytest.raises(FileNotFoundError):
        probe(good.with_name("none.mp4"))


def test_an_ffmpeg_that_hangs_is_killed(good, tmp_path, monkeypatch):
    stuck = tmp_path / "ffmpeg"
    stuck.write_text("#!/bin/sh\nexec sleep 1000\n")
    stuck.chmod(0o755)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(stuck))
    monkeypatch.setattr(wan_ddp.video, "_PROBE_TIMEOUT_SECONDS", 0.3)
    with pytest.raises(StorageError, match=r"could not be decoded within 0\.3 s"):
        probe(good)


def test_the_module_is_cheap_to_import():
    heavy = ["numpy", "decord", "PIL", "torch", "cv2"]
    code = f"import sys, wan_ddp.video, wan_ddp.reader; print([name for name in {heavy} if name in sys.modules])"
    root = str(Path(wan_ddp.__file__).parents[1])
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": root})
    assert found.stdout.strip() == "[]"
