"""Released networks as narrow as recipes allow: importing real ones is copying 90 MB of weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from avpipe.train.runs import peers

NARROW = ("width=16", "embed_dim=16", "image_init=scratch")


def narrow() -> None:
    """Let `import-checkpoint` take such networks; once in a process."""
    for name, peer in peers.PEERS.items():
        peers.PEERS[name] = replace(peer, settings=(*peer.settings, *NARROW))


def write_narrow(folder: Path, name: str) -> Path:
    """Write a peer's file as it is released, of such a network."""
    from avpipe.train.data.columns import Inputs
    from avpipe.train.learner import build_student
    from avpipe.train.objectives import load_objective
    from avpipe.train.recipe import load_recipe
    from peer_factory import write_released

    recipe = load_recipe(peers.PEERS[name].recipe, NARROW)
    objective = load_objective(recipe.objective)
    weights = build_student(recipe, objective, 0, Inputs(num_classes=1)).state_dict()
    theirs = {
        peers._their_name(key, peers.PEERS[name].names): value for key, value in weights.items()
    }
    return write_released(folder, name, SimpleNamespace(state_dict=lambda: theirs))
