"""PANNs: the released names and sizes, an embedding computed twice, and every length of sound."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import reference_panns
import scipy.signal
import torch
from avpipe.errors import MissingDependencyError
from avpipe.pipeline.main import main
from avpipe.stages.teachers.nets import audioset, panns
from avpipe.stages.teachers.nets.cnn14 import Cnn14, WavegramLogmelCnn14
from avpipe.stages.teachers.protocol import Network
from avpipe.weights import Weights
from cache_factory import make_cache

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


class SmallCnn14(Cnn14):
    def __init__(self) -> None:
        super().__init__(width=4)


class SmallWavegram(WavegramLogmelCnn14):
    def __init__(self) -> None:
        super().__init__(width=4)


class NarrowCnn14(Cnn14):
    def __init__(self) -> None:
        super().__init__(width=16)


class NarrowWavegram(WavegramLogmelCnn14):
    def __init__(self) -> None:
        super().__init__(width=16)


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


@pytest.mark.parametrize("make", [SmallCnn14, SmallWavegram])
@pytest.mark.parametrize("seconds", [1 / 32_000, 0.05, 0.3, 1.0, 9.9])
def test_sound_of_any_length_has_finite_tags(make: type[Cnn14], seconds: float) -> None:
    """Under 3 s it is repeated from its start: never padded with zeros, never refused."""
    waveform = (0.3 * 32_767 * sounds(1, max(1, round(seconds * 32_000)))[0]).astype(np.int16)
    length = len(waveform)
    given = audioset.prepare(waveform, length // 2)
    network = panns.build_network(make, Weights((), "random", 0), "cpu")
    found = {name: value[0] for name, value in network(given[None]).items()}
    assert all(np.isfinite(value).all() for value in found.values())
    assert len(set(found["tags"].tolist())) == 5 and found["tags"].min() >= 0
    assert found["tags"].max() < 527 and (np.diff(found["tag_scores"]) <= 0).all()
    begin = max(0, length // 2 - 48_000)
    by_hand = [waveform[begin + i if length > 96_000 else i % length] for i in range(96_000)]
    np.testing.assert_array_equal(given, np.array(by_hand) / np.float32(32_767))


def test_three_seconds_need_no_cut(wavegram: WavegramLogmelCnn14) -> None:
    seen = {}
    wavegram.pre_block4.register_forward_hook(lambda *call: seen.update(wavegram=call[2].shape))
    wavegram.conv_block1.register_forward_hook(lambda *call: seen.update(logmel=call[2].shape))
    with torch.inference_mode():
        wavegram(torch.zeros(1, 96_000))
    assert seen["wavegram"] == seen["logmel"] == (1, 4, 150, 32)


def sounds(num: int, num_samples: int) -> np.ndarray:
    """Tones of several pitches and loudness in noise, `(num, num_samples)` float32."""
    rng, time = np.random.default_rng(1), np.arange(num_samples) / 32_000
    tones = [0.4**i * np.sin(2 * np.pi * 440 * 3**i * time) for i in range(num)]
    return (tones + 0.01 * rng.standard_normal((num, num_samples))).astype(np.float32)


@dataclass(frozen=True)
class Released:
    make: type[Cnn14]
    network: Network
    state: dict[str, np.ndarray]


@pytest.fixture(
    scope="module",
    params=[
        NarrowCnn14,
        NarrowWavegram,
        pytest.param(Cnn14, marks=pytest.mark.slow),
        pytest.param(WavegramLogmelCnn14, marks=pytest.mark.slow),
    ],
)
def released(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Released:
    """A checkpoint of the released form, as if trained: norms far from 0 and 1."""
    torch.manual_seed(5)
    source, generator = request.param(), torch.Generator().manual_seed(6)
    for name, module in source.named_modules():
        if "bn" in name:
            module.momentum = 1.0
            for value, middle in ((module.weight, 1), (module.bias, 0)):
                torch.nn.init.uniform_(value, middle - 0.4, middle + 0.4, generator)
    with torch.no_grad():
        source.train()(torch.from_numpy(sounds(4, 32_000)))  # so that no sound dies on its way
    path = tmp_path_factory.mktemp("released") / "net_mAP=0.4.pth"
    sampler = {"indexes": np.arange(9), "pointer": np.int64(4), "random_state": "x"}
    torch.save({"iteration": 3, "model": source.state_dict(), "sampler": sampler}, path)
    state = {
        name: value.double().numpy()
        for name, value in source.state_dict().items()
        if "extractor" not in name
    }
    network = panns.build_network(request.param, Weights((path,), "x"), "cpu")
    return Released(request.param, network, state)


@pytest.mark.parametrize(
    "num_samples",
    [64 * 320, 65 * 320 + 17, pytest.param(96_000, marks=pytest.mark.slow)],
    ids=["even", "odd", "3s"],
)
def test_the_embedding_is_that_of_an_independent_computation(
    released: Released, num_samples: int, one_thread: None
) -> None:
    """With an odd number of hops the branches of the Wavegram net differ by a column."""
    given = sounds(2 if num_samples == 64 * 320 else 1, num_samples)
    columns = released.network(given)
    with_wavegram = issubclass(released.make, WavegramLogmelCnn14)
    for i, sound in enumerate(given.astype(np.float64)):
        embedding, scores = reference_panns.embedding_and_scores(
            sound, released.state, with_wavegram=with_wavegram
        )
        ours = columns["value"][i]
        assert ours.shape == released.state["fc1.bias"].shape
        assert np.linalg.norm(ours - embedding) < 1e-4 * np.linalg.norm(embedding)
        np.testing.assert_allclose(ours, embedding, rtol=1e-4, atol=5e-4 * embedding.std())
        best = np.argsort(-scores)[:5]
        assert np.diff(scores[best]).max() < -1e-6  # no ties: the order is certain
        assert columns["tags"][i].tolist() == best.tolist()
        np.testing.assert_allclose(columns["tag_scores"][i], scores[best], rtol=1e-5)
    if len(given) > 1:  # the network tells them apart: a wrong front end would show
        first, second = columns["value"]
        assert np.linalg.norm(first - second) > 0.1 * np.linalg.norm(first)


def test_our_front_end_is_the_one_that_the_released_files_hold() -> None:
    net = SmallCnn14()
    window = scipy.signal.get_window("hann", 1024)
    transform = np.fft.rfft(np.eye(1024) * window, axis=1).T  # (513, 1024)
    stft = net.spectrogram_extractor.stft
    for conv, expected in ((stft.conv_real, transform.real), (stft.conv_imag, transform.imag)):
        np.testing.assert_allclose(conv.weight[:, 0].detach(), expected, atol=1e-6)
    bank = reference_panns.mel_matrix()
    np.testing.assert_allclose(
        net.logmel_extractor.melW.detach(), bank, rtol=1e-4, atol=1e-6 * bank.max()
    )


def test_a_file_with_another_filterbank_is_heard_with_its_own(tmp_path: Path) -> None:
    """As it was trained: what the file holds wins over what we would make."""
    source = SmallCnn14().eval()
    low = librosa.filters.mel(sr=32_000, n_fft=1024, n_mels=64, fmin=0, fmax=8000).T
    with torch.no_grad():
        source.logmel_extractor.melW.copy_(torch.from_numpy(low))
        source.spectrogram_extractor.stft.conv_real.weight.mul_(0.5)
    path = tmp_path / "own.pth"
    torch.save({"model": source.state_dict()}, path)
    given = sounds(2, 12_800)
    with torch.inference_mode():
        expected = source(torch.from_numpy(given))[0].numpy()
        plain = SmallCnn14().eval()
        plain.load_state_dict(
            {n: v for n, v in source.state_dict().items() if "extractor" not in n}, strict=False
        )
        other = plain(torch.from_numpy(given))[0].numpy()
    ours = panns.build_network(SmallCnn14, Weights((path,), "x"), "cpu")(given)["value"]
    np.testing.assert_array_equal(ours, expected)
    assert np.abs(ours - other).max() > 0.1 * expected.std()


def test_the_front_end_stays_in_float32_beside_autocast() -> None:
    net, given = SmallCnn14().eval(), torch.from_numpy(sounds(2, 12_800))
    with torch.inference_mode():
        expected = net.logmel(given)
        with torch.autocast("cpu", torch.bfloat16):
            ours = net.logmel(given)
            assert net(given)[0].dtype == torch.bfloat16
    assert ours.dtype == torch.float32
    assert torch.equal(ours, expected)


class Payload:
    """Unpickling it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return self.path.touch, ()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content, path: {"net": content["model"]}, "has no 'model' (it has net)"),
        (lambda content, path: {"model": {}}, "not the weights of Cnn14: lacks bn0.bias, "),
        (
            lambda content, path: {"model": {**content["model"], "fc1.bias": torch.zeros(9)}},
            "has of another shape fc1.bias (9,) instead of (2048,)",
        ),
        (lambda content, path: {**content, "extra": Payload(path)}, "holds more than tensors"),
    ],
    ids=["key", "names", "shape", "pickle"],
)
def test_files_that_are_not_the_networks_end_the_command_in_one_line(
    spoil: Callable[[dict[str, Any], Path], Any],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda self, *_, **__: self)  # to be loaded over
    make_cache(tmp_path / "avcache", 2)
    path = tmp_path / "Cnn14_mAP=0.431.pth"
    with torch.device("meta"):
        names = Cnn14().state_dict()
    state = {name: torch.zeros(()).expand(value.shape) for name, value in names.items()}
    torch.save(spoil({"model": state}, tmp_path / "ran"), path)
    words = f"embed-teachers --visual none --audio panns-cnn14 --cache {tmp_path}/avcache"
    assert main([*words.split(), "--device", "cpu", "--weights", f"panns-cnn14={path}"]) == 6
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert message in told[0]
    assert str(path) in told[0]
    assert not (tmp_path / "ran").exists()
    assert not list((tmp_path / "avcache").glob("hints/*/*"))


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
    window = audioset.prepare(waveform, frame_sample)
    assert window.dtype == np.float32
    np.testing.assert_allclose(window * 32767, waveform[first : first + 96_000], atol=0.01)


def test_short_sound_is_repeated_from_its_start() -> None:
    waveform = np.arange(40_000, dtype=np.int16)
    window = audioset.prepare(waveform, 20_000)
    np.testing.assert_allclose(window * 32767, np.tile(waveform, 3)[:96_000], atol=0.01)
