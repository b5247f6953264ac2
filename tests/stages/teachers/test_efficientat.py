"""EfficientAT: a front-end from a loop and figures, released names and sizes, known answers."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from avpipe.cache.state import stages
from avpipe.cache.store import Cache
from avpipe.errors import MissingDependencyError
from avpipe.pipeline.main import main
from avpipe.stages.teachers.nets import efficientat
from avpipe.stages.teachers.nets.audioset import NAMES_FILE, read_names
from avpipe.stages.teachers.nets.efficientat_net import WIDTHS, EfficientAT, LogMel, head_shape
from avpipe.stages.teachers.protocol import load_teacher
from avpipe.weights import Weights
from cache_factory import make_cache
from numpy.typing import NDArray

REAL = Path(__file__).parents[4] / "shared/real/models/mn04_as_mAP_432.pt"
needs_weights = pytest.mark.skipif(
    not REAL.is_file(), reason="no ../shared/real/models/mn04_as_mAP_432.pt beside the checkout"
)
TEACHERS = {
    "efficientat-mn04": ("mn04", 384, 983_599),
    "efficientat-mn10": ("mn10", 960, 4_876_831),
    "efficientat-mn40-ext": ("mn40", 3840, 68_427_303),
}
CLASSES = read_names()

# Parity vectors: computed in float64 by an implementation of its own; log-mel after scaling at
# [0, 0], [20, 100], [64, 150], [100, 5], [127, 299] behind its mean, least and greatest value.
LOG_MEL = {
    ("tones", 3): (
        *(-0.993477, -1.402585, 1.959688),
        *(0.306419, 1.643500, -1.028457, -1.402585, -1.258211),
    ),
    ("tones", 10): (
        *(-0.999409, -1.402585, 1.959688),
        *(0.306419, 1.643500, -1.028457, -1.402585, -1.402585),
    ),
    ("chirp", 3): (
        *(-1.237110, -1.402585, 2.774702),
        *(0.639838, -1.402534, -1.399815, -1.402585, -0.013476),
    ),
    ("chirp", 10): (
        *(-1.247409, -1.402585, 2.775608),
        *(0.679189, -1.301274, -1.402205, -1.402585, -1.402585),
    ),
    ("noise", 3): (
        *(0.883458, -1.400686, 2.111228),
        *(-0.784186, 0.134655, 1.046288, 1.696200, 1.879097),
    ),
    ("noise", 10): (
        *(0.883984, -1.400686, 2.111228),
        *(-0.784186, 0.134655, 1.046288, 1.696200, 1.878127),
    ),
}
# Of the released mn04: the embedding's first six numbers and its norm, the five best classes.
EMBEDDING = {
    ("tones", 3): (-0.300339, 0.160944, -0.062548, 0.337873, 0.590585, -0.286975, 5.496397),
    ("tones", 10): (-0.340971, 0.129090, -0.039735, 0.254872, 0.617035, -0.295786, 5.721020),
    ("chirp", 3): (-0.283914, 0.251146, -0.069362, 0.056744, 0.610771, -0.020698, 4.760380),
    ("chirp", 10): (-0.294657, 0.002453, -0.121696, 0.073488, 0.868604, -0.138040, 4.743340),
    ("noise", 3): (-0.144410, 0.052753, -0.222334, -0.155387, -0.291738, -0.276892, 5.501093),
    ("noise", 10): (-0.160382, 0.038295, -0.215591, -0.193739, -0.287416, -0.279867, 5.623281),
    ("zeros", 3): (-0.292067, -0.098892, -0.281262, -0.221567, -0.232643, -0.281834, 4.906579),
}
TAGS = {
    ("tones", 3): {501: 0.700867, 394: 0.203460, 393: 0.067691, 503: 0.016691, 0: 0.011075},
    ("tones", 10): {501: 0.669046, 394: 0.140257, 393: 0.031898, 0: 0.007807, 137: 0.006817},
    ("chirp", 3): {137: 0.253402, 138: 0.090481, 213: 0.078038, 158: 0.066507, 503: 0.056426},
    ("chirp", 10): {501: 0.160869, 137: 0.110294, 503: 0.069100, 213: 0.064263, 138: 0.049180},
    ("noise", 3): {515: 0.451315, 520: 0.232436, 521: 0.089811, 513: 0.071271, 487: 0.055153},
    ("noise", 10): {515: 0.320657, 520: 0.208876, 513: 0.081347, 521: 0.054920, 487: 0.045258},
    ("zeros", 3): {500: 0.180422, 137: 0.077599, 504: 0.034412, 0: 0.016597, 300: 0.012487},
}


def signal(name: str, seconds: float) -> NDArray[np.float32]:
    """Return one of the sounds of the parity vectors, `(1, seconds * 32000)`."""
    num = round(seconds * 32_000)
    time = np.arange(num) / 32_000
    if name == "tones":
        sound = 0.5 * np.sin(2 * np.pi * 440 * time) + 0.1 * np.cos(2 * np.pi * 3000 * time) + 0.05
    elif name == "chirp":
        sound = 0.3 * np.sin(2 * np.pi * (100 * time + 3950 * time**2 / seconds))
    elif name == "noise":
        sound = 0.1 * np.random.default_rng(0).standard_normal(num)
    else:
        sound = np.zeros(num)
    return sound.astype(np.float32)[None]


@pytest.fixture(scope="module")
def released() -> EfficientAT:
    model = EfficientAT(WIDTHS["mn04"]).eval()
    state = torch.load(REAL, weights_only=True)
    model.load_state_dict({**model.state_dict(), **state}, strict=True)
    return model


@pytest.mark.parametrize(("name", "seconds"), LOG_MEL)
def test_the_log_mel_has_the_known_values(name: str, seconds: int) -> None:
    mel = LogMel()(torch.from_numpy(signal(name, seconds)))
    assert mel.shape == (1, 1, 128, 100 * seconds)
    picture = mel[0, 0].double().numpy()
    at = [(0, 0), (20, 100), (64, 150), (100, 5), (127, 299)]
    found = [picture.mean(), picture.min(), picture.max(), *(picture[place] for place in at)]
    np.testing.assert_allclose(found, LOG_MEL[name, seconds], atol=1e-3, rtol=0)


def test_the_log_mel_is_that_of_loops() -> None:
    """A frame at either mirrored end and one between, from sums over samples, bins and bands."""
    sound = signal("noise", 0.05)[0].astype(np.float64)
    sharp = [sound[n + 1] - 0.97 * sound[n] for n in range(len(sound) - 1)]
    mel = [1127 * math.log(1 + 31.25 * j / 700) for j in range(512)]
    step = 1127 * math.log(1 + 15_000 / 700) / 129
    ours = LogMel()(torch.from_numpy(sound.astype(np.float32))[None])[0, 0]
    assert ours.shape == (128, (len(sound) - 1) // 320 + 1)
    for frame in (0, 2, ours.shape[1] - 1):
        taken = []
        for k in range(800):
            place = abs(320 * frame + k - 400)
            place = min(place, 2 * (len(sharp) - 1) - place)
            taken.append(sharp[place] * (0.5 - 0.5 * math.cos(2 * math.pi * k / 799)))
        turned = np.exp(-2j * np.pi * np.outer(np.arange(512), np.arange(800)) / 1024)
        power = np.abs(turned @ np.array(taken)) ** 2
        for band in (0, 1, 17, 64, 127):
            total = sum(
                max(0.0, min((mel[j] - band * step) / step, ((band + 2) * step - mel[j]) / step))
                * power[j]
                for j in range(512)
            )
            expected = (math.log(total + 1e-5) + 4.5) / 5
            assert float(ours[band, frame]) == pytest.approx(expected, abs=1e-4)


def test_silence_is_one_value() -> None:
    silence = LogMel()(torch.zeros(1, 3200))
    np.testing.assert_allclose(silence, (math.log(1e-5) + 4.5) / 5, atol=1e-6)


def test_everything_stays_in_float32_beside_autocast() -> None:
    torch.manual_seed(0)
    net, given = EfficientAT(0.1).eval(), torch.from_numpy(signal("noise", 0.5))
    with torch.inference_mode():
        expected = net(given)
        with torch.autocast("cpu", torch.bfloat16):
            found = net(given)
    for ours, one in zip(found, expected, strict=True):
        assert ours.dtype == torch.float32 and torch.equal(ours, one)


def released_names(expands: tuple[int, ...]) -> list[str]:
    """Return a file's names in their order; `expands` are the blocks with an expansion."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

    def conv(where: str) -> list[str]:
        return [f"{where}.0.weight", *(f"{where}.1.{kind}" for kind in norm)]

    names = conv("features.0")
    for block in range(1, 16):
        where, part = f"features.{block}.block", 0
        for _ in range(2 if block in expands else 1):
            names += conv(f"{where}.{part}")
            part += 1
        if block in (4, 5, 6, 11, 12, 13, 14, 15):
            gate = f"{where}.{part}.conc_se_layers.0"
            names += [f"{gate}.{layer}.{kind}" for layer in ("fc1", "fc2") for kind in norm[:2]]
            part += 1
        names += conv(f"{where}.{part}")
    names += conv("features.16")
    return names + [f"classifier.{n}.{kind}" for n in (2, 5) for kind in norm[:2]]


PARAMETERS = {
    **{"mn01": 123_783, "mn02": 324_695, "mn04": 983_599, "mn05": 1_431_239},
    **{"mn10": 4_876_831, "mn20": 17_909_287, "mn30": 39_086_367, "mn40": 68_427_303},
}


@pytest.mark.parametrize("name", WIDTHS)
def test_names_and_sizes_are_the_released_ones_at_every_width(name: str) -> None:
    with torch.device("meta"):
        net = EfficientAT(WIDTHS[name])
    expands = tuple(range(5 if name == "mn01" else 2, 16))
    assert list(net.state_dict()) == released_names(expands)
    assert len(net.state_dict()) == (294 if name == "mn01" else 312)
    assert sum(value.numel() for value in net.parameters()) == PARAMETERS[name]
    assert net.classifier[2].weight.shape == head_shape(WIDTHS[name])


def test_shapes_at_width_0_4() -> None:
    with torch.device("meta"):
        state = EfficientAT(0.4).state_dict()
    assert state["features.0.0.weight"].shape == (8, 1, 3, 3)
    assert state["features.4.block.1.0.weight"].shape == (32, 1, 5, 5)
    assert state["features.12.block.2.conc_se_layers.0.fc1.weight"].shape == (72, 272)
    assert state["features.16.0.weight"].shape == (384, 64, 1, 1)
    assert state["classifier.5.weight"].shape == (527, 512)


@needs_weights
@pytest.mark.parametrize(("name", "seconds"), EMBEDDING)
def test_the_released_network_gives_the_known_answers(
    released: EfficientAT, name: str, seconds: int
) -> None:
    with torch.inference_mode():
        embedding, scores = released(torch.from_numpy(signal(name, seconds)))
    *first, norm = EMBEDDING[name, seconds]
    np.testing.assert_allclose(embedding[0, :6], first, atol=1e-4 * norm, rtol=0)
    assert float(embedding.norm()) == pytest.approx(norm, rel=1e-4)
    best, classes = scores[0].topk(5)
    assert classes.tolist() == list(TAGS[name, seconds])
    np.testing.assert_allclose(best, list(TAGS[name, seconds].values()), atol=1e-4, rtol=0)


@needs_weights
def test_the_file_is_loaded_name_for_name_and_its_tags_have_names() -> None:
    state = torch.load(REAL, weights_only=True)
    assert list(state) == released_names(tuple(range(2, 16)))
    teacher = load_teacher("efficientat-mn04")
    columns = teacher.build(Weights((REAL,), "x"), "cpu")(signal("tones", 3))
    assert {name: value.shape[1:] for name, value in columns.items()} == {
        name: shape for name, (_, shape) in teacher.COLUMNS.items()
    }
    assert CLASSES[int(columns["tags"][0, 0])] == "Sine wave"
    np.testing.assert_allclose(
        columns["tag_scores"][0], list(TAGS["tones", 3].values()), atol=1e-4, rtol=0
    )


def test_the_classes_are_audiosets_in_order() -> None:
    found = {number: CLASSES[number] for number in (0, 137, 213, 394, 500, 501, 526)}
    assert list(found.values()) == [
        *("Speech", "Music", "Theremin", "Busy signal", "Silence", "Sine wave", "Field recording"),
    ]
    assert len(set(CLASSES.values())) == 527
    assert NAMES_FILE.stat().st_size == 14_675


@pytest.mark.parametrize("name", TEACHERS)
def test_every_teacher_gives_what_it_promises(name: str) -> None:
    network, num_features, _ = TEACHERS[name]
    teacher = load_teacher(name)
    assert teacher.COLUMNS["value"] == ("<f4", (num_features,))
    assert head_shape(WIDTHS[network])[1] == num_features
    (file,) = teacher.FILES
    assert file.url.endswith(f"/v0.0.1/{file.name}") and file.name.startswith(f"{network}_as_")
    if network == "mn40":
        return  # 68 million weights are not drawn for a test
    sound = np.concatenate([signal("tones", 3), signal("noise", 3)])
    before = torch.random.get_rng_state()
    first, again, other = (
        teacher.build(Weights((), "random", seed), "cpu")(sound) for seed in (0, 0, 1)
    )
    assert torch.equal(before, torch.random.get_rng_state())
    for column, (dtype, shape) in teacher.COLUMNS.items():
        assert first[column].astype(dtype).shape == (2, *shape)
        np.testing.assert_array_equal(first[column], again[column])
    assert not np.array_equal(first["value"], other["value"])
    tones, noise = first["value"]
    assert np.linalg.norm(tones - noise) > 0.1 * np.linalg.norm(tones)


@pytest.mark.parametrize("other", ["mn01", "mn10", "mn20"])
def test_the_file_of_another_width_is_refused_by_its_name(
    other: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_cache(tmp_path / "avcache", 2)
    path = tmp_path / "wrong.pt"
    torch.save(EfficientAT(WIDTHS[other]).state_dict(), path)
    words = f"embed-teachers --visual none --audio efficientat-mn04 --cache {tmp_path}/avcache"
    assert main([*words.split(), "--device", "cpu", "--weights", f"efficientat-mn04={path}"]) == 6
    (told,) = capsys.readouterr().err.strip().splitlines()
    assert f"{path}: these are the weights of {other} (width {WIDTHS[other]:g})" in told
    assert "takes those of mn04 (width 0.4)" in told
    assert not list((tmp_path / "avcache").glob("hints/*/*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classifier.5.bias": None}, "lacks classifier.5.bias"),
        ({"features.17.0.weight": torch.ones(1)}, "has unknown features.17.0.weight"),
        ({"classifier.5.bias": torch.ones(9)}, r"another shape classifier.5.bias \(9,\) instead"),
        ({"classifier.5.bias": torch.full((527,), torch.nan)}, "not finite in classifier.5.bias"),
    ],
    ids=["lacks", "unknown", "shape", "nan"],
)
def test_a_file_with_other_names_or_values_is_refused(
    change: dict[str, torch.Tensor | None], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "wrong.pt"
    state = {**EfficientAT(WIDTHS["mn01"]).state_dict(), **change}
    torch.save({name: value for name, value in state.items() if value is not None}, path)
    with pytest.raises(MissingDependencyError, match=message):
        efficientat.build_network("mn01", Weights((path,), "x"), "cpu")


def test_it_hears_the_3_s_that_panns_hear() -> None:
    waveform = (np.arange(320_000) % 30_011).astype(np.int16)
    ours, theirs = (load_teacher(name) for name in ("efficientat-mn04", "panns-cnn14"))
    for sound, at in ((waveform, 160_000), (waveform, 10), (waveform[:40_000], 20_000)):
        np.testing.assert_array_equal(ours.prepare(sound, at), theirs.prepare(sound, at))
    assert ours.PARAMS == theirs.PARAMS == {"seconds": 3.0}


def test_it_serves_as_hint_neighbour_and_cluster_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    monkeypatch.chdir(tmp_path)
    make_cache(tmp_path / "avcache", 8)
    options = "--device cpu --weights random"
    name = "efficientat-mn04"
    train = f"train --recipe compact --run run --device cpu --set audio_teacher={name} "
    train += "--set hints=audio --set epochs=1 --set batch_size=8 --set width=16 --set audio_pool=8"
    for words in (
        f"embed-teachers --visual none --audio {name} {options}",
        f"knn --k 3 --image none --audio {name} {options}",
        f"cluster --k 2 --encoder {name} {options}",
        train,
    ):
        assert main(words.split()) == 0, words
    cache = Cache(tmp_path / "avcache")
    made = {stage.partition("@")[0] for stage in stages(cache.path)}
    assert made == {
        *("extract", "audio", f"hints/{name}", f"neighbors/audio-{name}", f"clusters/{name}-k2"),
    }
    vectors = np.stack([cache.column(f"hints/{name}")[row] for row in range(8)])
    assert vectors.shape == (8, 384) and vectors.min() < 0  # unlike PANNs'
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = (unit @ unit.T - 2 * np.eye(8))[5]
    rows, similarity = cache.neighbors(f"audio-{name}")[5]
    np.testing.assert_allclose(similarity, np.sort(cosines)[:-4:-1], atol=1e-3)
    assert 5 not in rows
    (line,) = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["audio_hint"] > 0
