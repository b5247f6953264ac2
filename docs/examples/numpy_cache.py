"""A cache in plain NumPy: what it holds, how loud it is, and the clips nearest to one.

    python docs/examples/numpy_cache.py avcache [CLIP_ID]

Nothing here needs torch, and nothing opens HDF5: columns are memory-mapped arrays.
"""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np
from avpipe import Cache
from avpipe.errors import AvpipeError
from avpipe.stages.neighbors import knn
from numpy.typing import NDArray


def statistics(cache: Cache) -> str:
    """Count clips, failures, labels and silence; average loudness by frequency."""
    reasons = Counter(failure.reason for failure in cache.failures())
    labels = Counter(cache.manifest.line(row).get("label") for row in cache.rows.tolist())
    silent = cache.column("extract/silent")
    duration_s = cache.column("extract/duration_s")
    lengths_s = [float(duration_s[row]) for row in cache.rows.tolist()]
    bands = mean_spectra(cache).mean(0)
    lines = [
        f"{len(cache)} clips, failed: {dict(reasons) or 'none'}",
        f"{len(labels)} labels, the commonest: {labels.most_common(3)}",
        f"duration {np.median(lengths_s):.1f} s (median), {np.max(lengths_s):.1f} s (longest)",
        f"silent: {sum(bool(silent[row]) for row in cache.rows.tolist())}",
        f"loudest of {len(bands)} frequencies on average: number {int(bands.argmax())}",
    ]
    return "\n".join(lines)


def mean_spectra(cache: Cache) -> NDArray[np.float32]:
    """Return the mean log-spectrum of every clip's real sound, `(len(cache), frequencies)`."""
    wide, valid = cache.column("extract/spectrogram_wide"), cache.column("extract/valid_cols")
    means = []
    for row in cache.rows.tolist():
        low, high = valid[row]  # outside these columns there is no sound
        means.append(wide[row][:, low:high].mean(1, dtype=np.float32))
    return np.stack(means)


def nearest(cache: Cache, clip_id: str, k: int = 5) -> str:
    """Name the clips with the most alike mean spectrum, and what `avpipe knn` stored."""
    row = cache.row_of(clip_id)
    spectra = mean_spectra(cache)
    index, cosine = knn(spectra - spectra.mean(0), k)
    i = cache.ids.index(clip_id)
    lines = ["by mean spectrum:"]
    lines += [f"  {cache.ids[j]} {c:.3f}" for j, c in zip(index[i], cosine[i], strict=True)]
    id_of = dict(zip(cache.rows.tolist(), cache.ids, strict=True))
    for name in ("image-imagenet-resnet18", "audio-vggsound-resnet18"):
        try:
            stored = cache.neighbors(name)
        except AvpipeError as error:  # its one line says what is missing
            lines.append(f"{error}; run `avpipe knn --cache {cache.path}`")
            continue
        if row in stored:  # the clip is of the set among which neighbours were sought
            rows, similarity = stored[row]
            found = list(zip(rows.tolist(), similarity.tolist(), strict=True))[:k]
            lines += [f"{name}:", *(f"  {id_of[r]} {c:.3f}" for r, c in found if r >= 0)]
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Print statistics of a cache and the neighbours of a clip, its first one if none is named."""
    cache = Cache(arguments[0] if arguments else "avcache")
    print(statistics(cache))
    clip = cache.clip(arguments[1] if len(arguments) > 1 else cache.ids[0])
    print(f"\n{clip.id} ({clip.label}): frame {clip.frame.shape}, sound {clip.spectrogram.shape}")
    print(nearest(cache, clip.id))


if __name__ == "__main__":
    main(sys.argv[1:])
