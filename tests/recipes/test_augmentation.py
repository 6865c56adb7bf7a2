import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from probe_features import scaled
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from kerasft.probe import fit_probe, held_out_scores, predictions
from kerasft.recipes import KINDS, augmented, limits_of, look_at_kinds, views_of
from kerasft.recipes.augmentation import _moved, view_of

RNG = np.random.default_rng(0)
PICTURES = RNG.uniform(0, 255, (6, 12, 10, 3)).astype("float32")
DATA = tf.data.Dataset.from_tensor_slices((PICTURES, np.arange(6))).batch(4)
LIMITS = (0.0, 255.0)


@pytest.fixture(autouse=True)
def the_same_samples_in_any_order(monkeypatch):
    monkeypatch.setitem(globals(), "RNG", np.random.default_rng(0))


def views(data, *args, **kwargs):
    return np.concatenate([x for x, _ in augmented(data, *args, limits=LIMITS, **kwargs).as_numpy_iterator()])


def test_each_pass_draws_anew_and_a_second_run_draws_the_same():
    data = augmented(DATA, seed=3, limits=LIMITS)
    first, second = ([x for x, _ in data.as_numpy_iterator()] for _ in range(2))
    assert np.abs(first[0] - second[0]).max() > 1
    again = augmented(DATA, seed=3, limits=LIMITS)
    for one, other in zip([first, second], (list(again.as_numpy_iterator()) for _ in range(2)), strict=True):
        for a, (b, _) in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    other_seed = [x for x, _ in augmented(DATA, seed=4, limits=LIMITS).as_numpy_iterator()]
    assert np.abs(first[0] - other_seed[0]).max() > 1


def test_keeps_shapes_labels_and_number():
    data = augmented(DATA, limits=LIMITS)
    assert data.cardinality() == DATA.cardinality() == 2
    assert data.element_spec[0].shape == DATA.element_spec[0].shape
    assert np.concatenate([y for _, y in data.as_numpy_iterator()]).tolist() == [*range(6)]
    weighted = augmented(DATA.map(lambda x, y: (x, y, 2.0)), limits=LIMITS)
    assert next(iter(weighted))[2].numpy() == 2.0


def test_a_flip_is_the_picture_or_its_mirror():
    many = np.repeat(PICTURES[:1], 60, 0)
    found = views(tf.data.Dataset.from_tensors((many, np.zeros(60))), ["flip"])
    mirrored = [np.array_equal(view, many[0][:, ::-1]) for view in found]
    plain = [np.array_equal(view, many[0]) for view in found]
    assert all(a != b for a, b in zip(mirrored, plain, strict=True))
    assert 15 < sum(mirrored) < 45


def test_colors_stay_within_the_limits_and_move_no_pixel():
    found = views(DATA, ["color"], strength=0.5)
    assert found.min() >= 0
    assert found.max() <= 255
    assert np.abs(found - PICTURES).max() > 10
    flat = np.full((1, 4, 4, 3), 100.0, "float32")
    (view,) = views(tf.data.Dataset.from_tensors((flat, [0])), ["color"])
    assert np.ptp(view, axis=(0, 1)).max() < 1e-3  # the same change for all pixels of a channel


@pytest.mark.parametrize(
    ("angle", "scale", "stretch", "shift"),
    [
        (0.2, 1.0, 1.0, (0, 0)),
        (0, 1.3, 1.0, (0, 0)),
        (0, 1, 1.2, (0, 0)),
        (0, 1, 1, (0.1, -0.2)),
        (0.1, 0.9, 0.8, (0.1, 0)),
    ],
)
def test_moves_pictures_as_pillow_does(angle, scale, stretch, shift):
    """Pillow maps the middle of each pixel of the view to a point of the picture by the same matrix."""
    y, x = np.mgrid[:40, :30]
    picture = (100 + 60 * np.sin(x / 5) + 60 * np.cos(y / 7)).astype("float32")
    given = [tf.constant([float(v)]) for v in (angle, scale, stretch)]
    shifts = tf.constant([list(map(float, shift))])
    moved = _moved(picture[None, :, :, None], *given, shifts, tf.zeros(1)).numpy()[0, :, :, 0]
    mirrored = _moved(picture[None, :, ::-1, None], *given, shifts, tf.ones(1)).numpy()[0, :, :, 0]
    np.testing.assert_allclose(mirrored, moved, atol=1e-3)
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = scale * turned * [[stretch, 1], [1, 1 / stretch]]
    middle = np.array([14.5, 19.5])
    offset = middle - matrix @ middle + np.multiply(shift, (30, 40))
    offset += 0.5 - matrix @ [0.5, 0.5]  # Pillow counts from the corner of the first pixel
    coefficients = [*matrix[0], offset[0], *matrix[1], offset[1]]
    expected = Image.fromarray(picture).transform(
        (30, 40), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    )
    inside = np.s_[12:-12, 8:-8]
    np.testing.assert_allclose(moved[inside], np.asarray(expected)[inside], atol=0.5)


def test_views_of_integers_are_integers():
    pictures = PICTURES.astype("uint8")
    found = views(tf.data.Dataset.from_tensors((pictures, np.arange(6))))
    assert found.dtype == np.uint8
    as_numbers = view_of(tf.constant(pictures, tf.float32), tf.constant([1, 2]), KINDS, 0.15, LIMITS)
    as_bytes = view_of(tf.constant(pictures), tf.constant([1, 2]), KINDS, 0.15, LIMITS)
    np.testing.assert_allclose(as_numbers, tf.cast(as_bytes, tf.float32), atol=0.51)


def test_limits_are_those_of_all_pictures():
    assert limits_of(DATA.as_numpy_iterator()) == (PICTURES.min(), PICTURES.max())


def look(x, targets, kinds, strength, limits, link="softmax"):
    """Reports of a probe on pixels, over batches of 100."""
    seen = {
        kind: np.concatenate([np.asarray(view(x[i : i + 100])) for i in range(0, len(x), 100)])
        for kind, view in views_of(kinds, strength, limits).items()
    }
    flat = {kind: pictures.reshape(len(x), -1) for kind, pictures in seen.items()}
    plain = x.reshape(len(x), -1)
    return look_at_kinds(fit_probe(plain, targets, link), plain, flat)


def test_digits_are_not_mirrored():
    digits = load_digits()
    x = np.pad(digits.images[:600, ..., None], ((0, 0), (2, 2), (2, 2), (0, 0))).astype("float32")
    flip, affine, color = look(x, np.eye(10)[digits.target[:600]], KINDS, 0.05, (0.0, 16.0))
    assert flip.told_apart > 0.8
    assert not flip.is_used
    assert affine.is_used
    assert color.is_used
    assert color.told_apart is None


def test_the_gain_is_that_of_sklearn_on_the_same_folds():
    labels = RNG.integers(0, 3, 120)
    x = (RNG.normal(size=(120, 4, 4, 1)) + labels[:, None, None, None]).astype("float32")
    plain, view = x.reshape(120, -1), x[:, :, ::-1].reshape(120, -1)
    probe = fit_probe(plain, np.eye(3)[labels], strengths=(0.1,))
    (report,) = look_at_kinds(probe, plain, {"flip": view})
    gains = []
    for fold in np.unique(probe.fold):
        held = probe.fold == fold
        losses = []
        for rows, y in (
            (plain[~held], labels[~held]),
            (np.concatenate([plain[~held], view[~held]]), np.tile(labels[~held], 2)),
        ):
            whole = plain if len(rows) < 120 else np.concatenate([plain, view])
            fit = LogisticRegression(C=1 / (len(rows) * probe.strength), max_iter=5000, tol=1e-9)
            fit.fit(scaled(rows, whole), y)
            chances = fit.predict_proba(scaled(plain[held], whole))
            losses.append(-np.log(chances[np.arange(held.sum()), labels[held]]))
        gains.append(losses[0] - losses[1])
    assert report.gain == pytest.approx(np.concatenate(gains).mean(), abs=2e-3)


@pytest.mark.parametrize("count", [1600, 3200])
def test_a_gain_is_a_number_where_pictures_and_their_views_are_many(count):
    """Pictures are counted, not their views: of more than 3,000, one fold is held out, else five."""
    labels = np.arange(count) % 2
    x = RNG.normal(size=(count, 2)) + labels[:, None]
    probe = fit_probe(x, np.eye(2)[labels])
    assert np.isnan(probe.held_out[:, 0]).mean() == (0.8 if count > 3000 else 0.0)
    (report,) = look_at_kinds(probe, x, {"affine": x + RNG.normal(size=x.shape) / 10})
    assert abs(report.gain) < 0.01 and 0 < report.error < 0.01 and report.is_used


def test_samples_that_count_nothing_change_no_report():
    labels = np.arange(120) % 3
    x = RNG.normal(size=(120, 4)) + labels[:, None]
    view, rows, targets = x + RNG.normal(size=x.shape), np.arange(120) < 90, np.eye(3)[labels]
    view[~rows] = 50 * (2 - labels[~rows, None])  # would turn the classes round
    weight = np.where(rows, 1.0, 0.0)
    probe = fit_probe(x, targets, sample_weight=weight)
    (report,) = look_at_kinds(probe, x, {"affine": view})
    counted = np.concatenate([x, view]), np.tile(targets, (2, 1)), np.tile(weight, 2)
    groups = np.tile(np.arange(120), 2)
    known = ("softmax", probe.strength)
    plain = held_out_scores(x, targets, *known, sample_weight=weight)
    both = held_out_scores(*counted[:2], *known, sample_weight=counted[2], groups=groups)
    seen = [scores[:120][rows] for scores in (plain, both)]
    losses = [-np.log(predictions(scores, "softmax")[np.arange(90), labels[rows]]) for scores in seen]
    assert report.gain == pytest.approx((losses[0] - losses[1]).mean())
    assert report.error == pytest.approx((losses[0] - losses[1]).std() / 90**0.5)


def test_what_exchanges_the_classes_is_left_out():
    """Left and right are two classes: a probe that has learned from mirrored pictures knows neither."""
    labels = np.arange(200) % 2
    x = RNG.uniform(size=(200, 8, 8, 1)).astype("float32")
    x[labels == 0, :, :4] += 1
    x[labels == 1, :, 4:] += 1
    (flip,) = look(x, np.eye(2)[labels], ["flip"], 0.1, (0.0, 2.0))
    assert flip.told_apart < 0.55  # the data are the same in a mirror
    assert flip.gain < -10 * flip.error
    assert not flip.is_used


def test_symmetric_classes_are_mirrored():
    labels = RNG.integers(0, 2, 200)
    x = RNG.uniform(size=(200, 8, 8, 1)).astype("float32") + 0.5 * labels[:, None, None, None]
    (flip,) = look(x, np.eye(2)[labels], ["flip"], 0.1, (0.0, 2.0))
    assert flip.is_used
    assert flip.told_apart < 0.6


def test_a_mirror_that_can_be_told_is_left_out_though_classes_are_kept():
    """All pictures are brighter on their left side; the class is the brightness of both."""
    labels = RNG.integers(0, 2, 200)
    x = RNG.uniform(size=(200, 8, 8, 1)).astype("float32") + 4 * labels[:, None, None, None]
    x[:, :, :4] += 1
    (flip,) = look(x, np.eye(2)[labels], ["flip"], 0.1, (0.0, 6.0))
    assert flip.told_apart > 0.9
    assert not flip.is_used


@pytest.mark.parametrize("link", ["sigmoid", "identity"])
def test_looks_at_numbers_and_several_answers_as_well(link):
    """What lies left and what lies right is lost in a mirror; how bright a picture is stays."""
    left, right = RNG.uniform(size=(2, 200))
    x = RNG.uniform(0, 0.2, size=(200, 8, 8, 1)).astype("float32")
    x[:, :, :4] += left[:, None, None, None]
    x[:, :, 4:] += right[:, None, None, None]
    sides, sums = np.stack([left, right], 1), np.stack([left + right, left + right], 1)
    if link == "sigmoid":
        sides, sums = (sides > 0.5) * 1.0, (sums > 1) * 1.0
    (lost,) = look(x, sides, ["flip"], 0.1, (0.0, 1.2), link)
    (kept,) = look(x, sums, ["flip"], 0.1, (0.0, 1.2), link)
    assert not lost.is_used
    assert kept.is_used


@pytest.mark.parametrize(
    ("data", "kinds", "message"),
    [
        (DATA, ["flip", "cutmix"], r"no views of the kinds \['cutmix'\]. There are \['flip'"),
        (DATA.map(lambda x, y: ({"image": x}, y)), ["flip"], "the pictures one tensor of shape"),
        (DATA.map(lambda x, y: x), ["flip"], "the pictures one tensor of shape"),
        (DATA.unbatch(), ["flip"], "the pictures one tensor of shape"),
    ],
)
def test_refuses_what_it_can_not_look_at(data, kinds, message):
    with pytest.raises(ValueError, match=message):
        augmented(data, kinds, limits=LIMITS)


def test_works_inside_fit():
    model = keras.Sequential([keras.Input((12, 10, 3)), keras.layers.Flatten(), keras.layers.Dense(6)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = model.fit(augmented(DATA, limits=LIMITS), epochs=2, shuffle=False, verbose=0).history
    assert len(history["loss"]) == 2
