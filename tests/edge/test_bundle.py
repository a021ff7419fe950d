"""Nothing is loaded whose sums do not hold, and no model that its card does not describe."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from edge_qc.bundle import SHIPPED, Bundle, Input, load_bundle, write_bundle
from edge_qc.capture.simulated_part import draw_part
from edge_qc.classify.litert import LiteRtClassifier
from edge_qc.errors import BundleError, ModelError, PictureError
from edge_qc.installed import InstalledBundles
from fakes import frame


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "bundle"))


def _with_card(bundle: Bundle, path: Path, **changes: object) -> Path:
    write_bundle(path, bundle.card.model_copy(update=changes), bundle.model, "# card\n")
    return path


def test_the_bundle_that_ships_is_small_and_says_where_it_comes_from() -> None:
    bundle = load_bundle(SHIPPED)
    assert len(bundle.model) < 500_000
    assert bundle.card.metrics
    card = (SHIPPED / "MODEL_CARD.md").read_text()
    assert "CC BY-NC-ND 4.0" in card
    assert "edge-qc-train fit" in card


def test_a_written_bundle_is_the_same_when_it_is_read(tmp_path: Path) -> None:
    bundle = load_bundle(SHIPPED)
    write_bundle(tmp_path / "b", bundle.card, bundle.model, "# card\n")
    again = load_bundle(tmp_path / "b")
    assert (again.card, again.model) == (bundle.card, bundle.model)


@pytest.mark.parametrize("name", ["model.tflite", "model.json", "MODEL_CARD.md"])
def test_one_flipped_bit_is_noticed(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(bytes(data))
    with pytest.raises(BundleError, match="is not the file the bundle was made with"):
        load_bundle(copy)


@pytest.mark.parametrize("name", ["model.tflite", "model.json", "MODEL_CARD.md", "SHA256SUMS"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(BundleError, match=name):
        load_bundle(copy)


@pytest.mark.parametrize("line", ["short  model.tflite", "a" * 64 + "  ../../etc/passwd", "a" * 64])
def test_malformed_sums_are_refused(copy: Path, line: str) -> None:
    (copy / "SHA256SUMS").write_text(line + "\n")
    with pytest.raises(BundleError, match="malformed"):
        load_bundle(copy)


def test_a_card_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    bundle = load_bundle(SHIPPED)
    path = _with_card(bundle, tmp_path / "b")
    text = (path / "model.json").read_text()
    new = json.dumps({**json.loads(text), "tresholds": 1})
    (path / "model.json").write_text(new)
    import hashlib  # noqa: PLC0415

    sums = (
        (path / "SHA256SUMS")
        .read_text()
        .replace(hashlib.sha256(text.encode()).hexdigest(), hashlib.sha256(new.encode()).hexdigest())
    )
    (path / "SHA256SUMS").write_text(sums)
    with pytest.raises(BundleError, match="tresholds"):
        load_bundle(path)


def test_a_model_whose_input_is_not_the_cards_is_refused(tmp_path: Path) -> None:
    bundle = load_bundle(SHIPPED)
    wrong = bundle.card.input.model_copy(update={"height": 224, "width": 224})
    path = _with_card(bundle, tmp_path / "b", input=wrong)
    with pytest.raises(ModelError, match=r"expected \(1, 224, 224, 1\) int8; got \(1, 300, 300, 1\) int8"):
        LiteRtClassifier(load_bundle(path))


def test_a_model_whose_scale_is_not_the_cards_is_refused(tmp_path: Path) -> None:
    bundle = load_bundle(SHIPPED)
    path = _with_card(bundle, tmp_path / "b", input=bundle.card.input.model_copy(update={"scale": 1.0}))
    with pytest.raises(ModelError, match="scale"):
        LiteRtClassifier(load_bundle(path))


def test_a_bundle_replaces_a_bundle(tmp_path: Path) -> None:
    bundle = load_bundle(SHIPPED)
    for text in ("# old\n", "# new\n"):
        write_bundle(tmp_path / "b", bundle.card, bundle.model, text)
    assert (tmp_path / "b" / "MODEL_CARD.md").read_text() == "# new\n"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_bundle_does_not_replace_a_folder_in_which_anything_else_lies(tmp_path: Path) -> None:
    bundle = load_bundle(SHIPPED)
    write_bundle(tmp_path / "b", bundle.card, bundle.model, "# card\n")
    (tmp_path / "b" / "thesis.txt").write_text("mine")
    with pytest.raises(BundleError, match="is in use; expected a new folder, an empty one, or a bundle"):
        write_bundle(tmp_path / "b", bundle.card, bundle.model, "# card\n")
    assert (tmp_path / "b" / "thesis.txt").read_text() == "mine"


def test_a_model_file_that_is_none_is_refused_by_the_runtime(tmp_path: Path) -> None:
    bundle = load_bundle(SHIPPED)
    write_bundle(tmp_path / "b", bundle.card, bundle.model[:1000], "# card\n")
    with pytest.raises(ModelError, match="the runtime refuses"):
        LiteRtClassifier(load_bundle(tmp_path / "b"))


def test_the_same_frame_gets_the_same_prediction_at_any_size() -> None:
    classifier = LiteRtClassifier(load_bundle(SHIPPED))
    part = draw_part(np.random.default_rng(0), defective=True).pixels
    one, two = classifier.classify(frame(part)), classifier.classify(frame(part))
    assert one.probabilities.tolist() == two.probabilities.tolist()
    assert one.probabilities.sum() == pytest.approx(1)


def test_a_picture_without_a_part_is_none_that_could_be_unwrapped() -> None:
    classifier = LiteRtClassifier(load_bundle(SHIPPED))
    with pytest.raises(PictureError, match="no part to unwrap"):
        classifier.classify(frame())


def test_the_heatmap_of_an_unwrapped_part_lies_over_its_picture() -> None:
    classifier, rng = LiteRtClassifier(load_bundle(SHIPPED)), np.random.default_rng(5)
    for _ in range(5):
        part = draw_part(rng, defective=True)
        heatmap = classifier.classify(frame(part.pixels)).heatmap
        assert heatmap is not None
        assert part.mask is not None
        row, column = np.unravel_index(int(heatmap.argmax()), heatmap.shape)
        near = cv2.dilate(part.mask.astype(np.uint8), np.ones((61, 61), np.uint8))
        assert near[int((row + 0.5) * 300 / heatmap.shape[0]), int((column + 0.5) * 300 / heatmap.shape[1])]


def test_install_makes_current_and_rollback_goes_back(tmp_path: Path) -> None:
    bundle, installed = load_bundle(SHIPPED), InstalledBundles(tmp_path)
    assert installed.current() == SHIPPED
    for version in ("1.0.1", "1.0.2"):
        installed.install(_with_card(bundle, tmp_path / version, version=version))
    assert installed.current().name == "casting-1.0.2"
    assert installed.rollback().name == "casting-1.0.1"
    assert installed.current().name == "casting-1.0.1"
    assert [p.name for p in installed.all()] == ["casting-1.0.1", "casting-1.0.2"]


def test_an_altered_bundle_is_not_installed(tmp_path: Path, copy: Path) -> None:
    (copy / "model.tflite").write_bytes(b"x")
    with pytest.raises(BundleError):
        InstalledBundles(tmp_path).install(copy)
    assert InstalledBundles(tmp_path).all() == []


def test_there_is_no_way_back_from_one_bundle(tmp_path: Path) -> None:
    installed = InstalledBundles(tmp_path)
    installed.install(SHIPPED)
    with pytest.raises(BundleError, match="no bundle to go back to"):
        installed.rollback()


def test_a_ring_is_laid_in_two_halves_so_its_height_is_even() -> None:
    for height, unwrap, right in ((300, "ring", True), (301, "ring", False), (301, "none", True)):
        given = {"scale": 0.02, "zero_point": 0, "height": height, "unwrap": unwrap}
        if right:
            assert Input.model_validate(given).height == height
        else:
            with pytest.raises(ValidationError, match="height: expected an even one"):
                Input.model_validate(given)
