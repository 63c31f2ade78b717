"""Files are whole or not there, and a damaged one is named."""

import os
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from driftback.errors import BadInput, DamagedModel
from driftback.files import read_tensors, write_tensors, write_text, writing

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b/c": torch.tensor([1, 2]), "empty": torch.zeros(0)}


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "w.safetensors"
    write_tensors(path, TENSORS, {"step": 3, "words": ["ä"]})
    tensors, about = read_tensors(path)
    assert about == {"step": 3, "words": ["ä"]}
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[k], TENSORS[k]) and tensors[k].dtype == TENSORS[k].dtype for k in TENSORS)
    assert [p.name for p in path.parent.iterdir()] == ["w.safetensors"]


def test_the_same_is_the_same_file_byte_for_byte(tmp_path: Path) -> None:
    """The header's order differed from one write to the next: eight are alike by chance once in 6^7 times."""
    for k in range(8):
        write_tensors(tmp_path / f"{k}", TENSORS | {"ä": torch.ones(1)}, {"step": 3, "words": ["ä", '"']})
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_an_interruption_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    write_text(path, "old")

    def interrupted() -> None:
        with writing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def passes(path: Path, raw: bytes) -> bool:
    path.write_bytes(raw)
    try:
        read_tensors(path)
    except DamagedModel as error:
        return "w.safetensors is damaged" not in str(error)
    return True


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    """In the header too: the step, the names, the types, and the checksum itself."""
    path = tmp_path / "w.safetensors"
    write_tensors(path, TENSORS, {"step": 10, "words": ["ä"]})
    raw = path.read_bytes()
    assert passes(path, raw)
    for place in range(len(raw)):
        for bit in range(8):
            changed = bytearray(raw)
            changed[place] ^= 1 << bit
            assert not passes(path, bytes(changed)), (place, bit)


def test_another_step_in_the_header_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_tensors(path, TENSORS, {"step": 10})
    raw = path.read_bytes()
    assert b'step\\": 10' in raw
    assert not passes(path, raw.replace(b'step\\": 10', b'step\\": 17'))
    assert not passes(path, raw.replace(b'step\\":', b'step\\"!')), "no JSON any more"


def test_files_of_the_first_format_are_still_read(tmp_path: Path) -> None:
    """Their checksum covered the tensors alone."""
    import hashlib

    from safetensors.torch import save_file

    digest = hashlib.sha256()
    for name in sorted(TENSORS):
        tensor = TENSORS[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    path = tmp_path / "w.safetensors"
    save_file(TENSORS, path, metadata={"about": '{"step": 3}', "sha256": digest.hexdigest()})
    tensors, about = read_tensors(path)
    assert about == {"step": 3}
    assert torch.equal(tensors["a"], TENSORS["a"])
    raw = path.read_bytes()
    assert not passes(path, raw[:-1] + bytes([raw[-1] ^ 1]))


@pytest.mark.parametrize("length", [0, 4, 60, 200])
def test_truncation_is_noticed(tmp_path: Path, length: int) -> None:
    path = tmp_path / "w.safetensors"
    write_tensors(path, TENSORS)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DamagedModel, match=r"w\.safetensors is damaged"):
        read_tensors(path)


def test_without_the_checksum_a_flipped_byte_would_pass(tmp_path: Path) -> None:
    """Planted fault: safetensors alone does not notice, which is why the checksum is there."""
    from safetensors.torch import load_file, save_file

    path = tmp_path / "w.safetensors"
    save_file(TENSORS, path)
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 0x10
    path.write_bytes(raw)
    assert load_file(path).keys() == TENSORS.keys()


def test_a_file_of_others_is_not_taken(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(TENSORS, tmp_path / "w.safetensors")
    with pytest.raises(DamagedModel, match="SHA-256"):
        read_tensors(tmp_path / "w.safetensors")


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """A limit on file sizes stands in for a full disk."""
    program = (
        "import sys, torch, pathlib, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from driftback.errors import BadInput\n"
        "from driftback.files import write_tensors\n"
        "try: write_tensors(pathlib.Path(sys.argv[1]), {'a': torch.zeros(100_000)})\n"
        "except BadInput as error: print(error)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "w.safetensors")],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
        check=False,
    )
    assert "cannot write" in found.stdout, found.stderr
    assert "half-written" in found.stdout
    assert os.listdir(tmp_path) == []


def test_a_forbidden_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot write"):
        write_text(tmp_path / "file" / "below.txt", "x")


def test_two_threads_write_one_file_whole(tmp_path: Path) -> None:
    path, texts = tmp_path / "one.json", ["a" * 300_000, "b" * 300_000]
    for _ in range(20):
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda text: write_text(path, text), texts))
        assert path.read_text() in texts
    assert [file.name for file in tmp_path.iterdir()] == ["one.json"]
