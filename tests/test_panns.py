"""PANNs: the released names and sizes, librosa's log-mel, and every length of sound."""

from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
from avpipe.errors import MissingDependencyError
from avpipe.stages.teachers import panns
from avpipe.stages.teachers.panns_net import Cnn14, WavegramLogmelCnn14
from avpipe.weights import Weights

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


class SmallCnn14(Cnn14):
    def __init__(self) -> None:
        super().__init__(width=4)


class SmallWavegram(WavegramLogmelCnn14):
    def __init__(self) -> None:
        super().__init__(width=4)


@pytest.fixture(scope="module")
def wavegram() -> WavegramLogmelCnn14:
    torch.manual_seed(0)
    return SmallWavegram().eval()


def released_names(wavegram: bool) -> set[str]:
    """The names as the released files have them."""
    names = {
        "spectrogram_extractor.stft.conv_real.weight",
        "spectrogram_extractor.stft.conv_imag.weight",
        "logmel_extractor.melW",
        *(f"{layer}.{kind}" for layer in ("fc1", "fc_audioset") for kind in ("weight", "bias")),
        *(f"bn0.{kind}" for kind in NORM),
    }
    blocks = [f"conv_block{i}" for i in range(1, 7)]
    if wavegram:
        blocks += [f"pre_block{i}" for i in range(1, 5)]
        names |= {"pre_conv0.weight", *(f"pre_bn0.{kind}" for kind in NORM)}
    for block in blocks:
        names |= {f"{block}.conv{i}.weight" for i in (1, 2)}
        names |= {f"{block}.bn{i}.{kind}" for i in (1, 2) for kind in NORM}
    return names


@pytest.mark.parametrize(
    ("make", "wavegram", "num_weights"),
    [(Cnn14, False, 80_753_615), (WavegramLogmelCnn14, True, 81_065_487)],
)
def test_names_and_sizes_are_the_released_ones(
    make: type[Cnn14], wavegram: bool, num_weights: int
) -> None:
    with torch.device("meta"):
        state = make().state_dict()
        weights = dict(make().named_parameters())
    assert set(state) == released_names(wavegram)
    front_end = {name for name in weights if "extractor" in name}
    trained = sum(value.numel() for name, value in weights.items() if name not in front_end)
    assert trained == num_weights  # table of the paper
    assert state["spectrogram_extractor.stft.conv_real.weight"].shape == (513, 1, 1024)
    assert state["logmel_extractor.melW"].shape == (513, 64)
    assert state["fc_audioset.weight"].shape == (527, 2048)
    if wavegram:
        assert state["conv_block2.conv1.weight"].shape == (128, 128, 3, 3)
        assert state["pre_block4.conv1.weight"].shape == (64, 4, 3, 3)


def test_logmel_is_librosas() -> None:
    rng = np.random.default_rng(0)
    waveform = (0.1 * rng.standard_normal((2, 32_000))).astype(np.float32)
    waveform[1] += 0.5 * np.sin(2 * np.pi * 440 * np.arange(32_000) / 32_000)
    expected = [
        librosa.power_to_db(
            librosa.feature.melspectrogram(
                **{"y": one.astype(np.float64), "sr": 32_000, "n_fft": 1024, "hop_length": 320},
                **{"window": "hann", "center": True, "pad_mode": "reflect", "power": 2.0},
                **{"n_mels": 64, "fmin": 50, "fmax": 14_000},
            ),
            ref=1.0,
            amin=1e-10,
            top_db=None,
        ).T
        for one in waveform
    ]
    with torch.inference_mode():
        ours = SmallCnn14().eval().logmel(torch.from_numpy(waveform))[:, 0].numpy()
    assert ours.shape == (2, 101, 64)
    np.testing.assert_allclose(ours, expected, atol=1e-3, rtol=1e-4)


def test_silence_is_the_floor() -> None:
    with torch.inference_mode():
        ours = SmallCnn14().eval().logmel(torch.zeros(1, 3200))
    assert ours.unique().tolist() == [-100.0]


@pytest.mark.parametrize("num_hops", [32, 33, 34, 35, 63, 64, 65, 101])
@pytest.mark.parametrize("extra", [0, 1, 319])
def test_every_length_is_heard(wavegram: Cnn14, num_hops: int, extra: int) -> None:
    with torch.inference_mode():
        embedding, scores = wavegram(0.1 * torch.randn(2, num_hops * 320 + extra))
    assert embedding.shape == (2, 128)
    assert scores.shape == (2, 527)
    assert embedding.min() >= 0
    assert 0 <= scores.min() <= scores.max() <= 1


def test_three_seconds_need_no_cut(wavegram: WavegramLogmelCnn14) -> None:
    seen = {}
    wavegram.pre_block4.register_forward_hook(lambda *call: seen.update(wavegram=call[2].shape))
    wavegram.conv_block1.register_forward_hook(lambda *call: seen.update(logmel=call[2].shape))
    with torch.inference_mode():
        wavegram(torch.zeros(1, 96_000))
    assert seen["wavegram"] == seen["logmel"] == (1, 4, 150, 32)


@pytest.mark.parametrize("make", [SmallCnn14, SmallWavegram])
def test_a_checkpoint_in_the_released_form_gives_its_own_embedding(
    make: type[Cnn14], tmp_path: Path
) -> None:
    torch.manual_seed(5)
    source = make().eval()
    for name, value in source.state_dict().items():  # as if trained
        if "running_mean" in name:
            value.uniform_(-0.1, 0.1)
        elif "running_var" in name:  # so small that no signal dies on its way
            value.uniform_(0.4, 0.8)
    path = tmp_path / "net_mAP=0.4.pth"
    content = {"iteration": 3, "model": source.state_dict(), "sampler": {"order": np.arange(9)}}
    torch.save(content, path)
    rng = np.random.default_rng(1)
    waveforms = (0.1 * rng.standard_normal((3, 12_800))).astype(np.float32)
    columns = panns.build_network(make, Weights((path,), "x"), "cpu")(waveforms)
    with torch.inference_mode():
        embedding, scores = source(torch.from_numpy(waveforms))
    np.testing.assert_array_equal(columns["value"], embedding.numpy())
    best = np.argsort(-scores.numpy(), axis=1, kind="stable")[:, :5]
    np.testing.assert_array_equal(columns["tags"], best)
    np.testing.assert_array_equal(
        columns["tag_scores"], np.take_along_axis(scores.numpy(), best, 1)
    )
    assert np.ptp(columns["value"], axis=0).max() > 0
    assert 0.501 < columns["tag_scores"].max() < 0.9999


def test_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cnn14.pth"
    torch.save({"model": SmallCnn14().state_dict()}, path)
    with pytest.raises(MissingDependencyError, match=r"cnn14\.pth: not the weights of SmallWaveg"):
        panns.build_network(SmallWavegram, Weights((path,), "x"), "cpu")
    torch.save(SmallCnn14().state_dict(), path)
    with pytest.raises(MissingDependencyError, match=r"cnn14\.pth: has no 'model'"):
        panns.build_network(SmallCnn14, Weights((path,), "x"), "cpu")


def test_random_weights_follow_the_seed_and_leave_the_generator_alone() -> None:
    waveforms = np.random.default_rng(0).standard_normal((1, 12_800)).astype(np.float32)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    values = [
        panns.build_network(SmallCnn14, Weights((), "random", seed), "cpu")(waveforms)["value"]
        for seed in (0, 0, 1)
    ]
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(values[0], values[1])
    assert not np.array_equal(values[0], values[2])


@pytest.mark.parametrize(
    ("num_samples", "frame_sample", "first"),
    [
        (320_000, 160_000, 112_000),
        (320_000, 10, 0),
        (320_000, 319_999, 224_000),
        (96_000, 500, 0),
        (96_001, 96_000, 1),
    ],
)
def test_the_window_lies_around_the_frame_and_inside(
    num_samples: int, frame_sample: int, first: int
) -> None:
    waveform = (np.arange(num_samples) % 30_011).astype(np.int16)
    window = panns.prepare(waveform, frame_sample)
    assert window.dtype == np.float32
    np.testing.assert_allclose(window * 32767, waveform[first : first + 96_000], atol=0.01)


def test_short_sound_is_repeated_from_its_start() -> None:
    waveform = np.arange(40_000, dtype=np.int16)
    window = panns.prepare(waveform, 20_000)
    np.testing.assert_allclose(window * 32767, np.tile(waveform, 3)[:96_000], atol=0.01)
