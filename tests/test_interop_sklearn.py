"""The scikit-learn estimators: scikit-learn's own checks, and what people do with estimators."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import striate as st
from striate.interop.sklearn import ConvNetClassifier, ConvNetRegressor

DIGITS, TARGETS = load_digits(return_X_y=True)


@pytest.mark.parametrize(
    "estimator",
    [ConvNetClassifier(random_state=0), ConvNetRegressor(random_state=0)],
    ids=lambda e: type(e).__name__,
)
def test_scikit_learn_s_own_checks(estimator: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of checks that warn on purpose
        results = check_estimator(estimator, on_fail=None)
    failed = [
        (result["check_name"], result["exception"]) for result in results if result["status"] == "failed"
    ]
    assert failed == []
    assert sum(result["status"] == "passed" for result in results) >= 50


def test_pipelines_searches_and_scores() -> None:
    pipeline = make_pipeline(
        StandardScaler(), ConvNetClassifier(epochs=15, standardize=False, random_state=0)
    )
    assert cross_val_score(pipeline, DIGITS[:600], TARGETS[:600], cv=3).mean() > 0.85
    search = GridSearchCV(ConvNetClassifier(epochs=3, random_state=0), {"hidden": [4, 32]}, cv=2)
    assert search.fit(DIGITS[:400], TARGETS[:400]).best_params_ == {"hidden": 32}


def test_images_and_rows_of_the_same_images_agree() -> None:
    images = DIGITS.reshape(-1, 1, 8, 8)
    options: dict[str, Any] = {
        "network": "CONV(filters=8)-RELU-POOL-FC-RELU,SOFTMAX",
        "epochs": 4,
        "random_state": 0,
    }
    by_image = ConvNetClassifier(**options).fit(images[:1000], TARGETS[:1000])
    by_row = ConvNetClassifier(**options, input_shape=(1, 8, 8)).fit(DIGITS[:1000], TARGETS[:1000])
    assert by_image.score(images[1000:], TARGETS[1000:]) > 0.85
    np.testing.assert_array_equal(by_image.predict_proba(images), by_row.predict_proba(DIGITS))
    with pytest.raises(ValueError, match="but ConvNetClassifier was fitted on"):
        by_image.predict(np.zeros((2, 1, 4, 16)))


def test_pickles_hold_no_code_and_give_the_same_predictions() -> None:
    fitted = ConvNetClassifier(epochs=2, random_state=0).fit(DIGITS[:300], TARGETS[:300])
    data = pickle.dumps(fitted)
    assert b"NativeEngine" not in data
    assert b"_native" not in data
    again = pickle.loads(data)
    np.testing.assert_array_equal(again.predict_proba(DIGITS), fitted.predict_proba(DIGITS))
    assert clone(fitted).get_params() == fitted.get_params()
    graph = st.zoo.build("digits")
    other = ConvNetClassifier(graph, input_shape=(1, 8, 8), epochs=1, random_state=0).fit(
        DIGITS[:100], TARGETS[:100]
    )
    restored = pickle.loads(pickle.dumps(other))
    np.testing.assert_array_equal(restored.predict(DIGITS), other.predict(DIGITS))


def test_partial_fit_goes_on() -> None:
    model = ConvNetClassifier(random_state=0)
    for _ in range(6):
        model.partial_fit(DIGITS[:500], TARGETS[:500], classes=np.arange(10))
    assert model.score(DIGITS[:500], TARGETS[:500]) > 0.95
    with pytest.raises(ValueError, match="none of the classes"):
        model.partial_fit(DIGITS[:2], [11, 12])


def test_a_regressor_learns_and_a_network_that_does_not_suit_is_refused() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 3))
    y = 100 + 20 * X[:, 0] - 5 * X[:, 1] ** 2
    assert ConvNetRegressor(epochs=60, random_state=0).fit(X, y).score(X, y) > 0.95
    with pytest.raises(st.OptionError, match="the data have 3 features and 1 output"):
        ConvNetRegressor(st.Sequential([st.Linear(2)], input_shape=(3,))).fit(X, y)


@pytest.mark.parametrize("estimator", [ConvNetClassifier, ConvNetRegressor])
def test_a_sample_is_predicted_to_the_same_bits_in_any_subset(estimator: Any) -> None:
    """Of images too, which the native engine convolves otherwise where there are few."""
    X = np.random.default_rng(0).random((40, 1, 8, 8)).astype(np.float32)
    y = np.arange(40) % 3
    fitted = estimator(epochs=1, random_state=0).fit(X, y)
    ask = fitted.predict_proba if estimator is ConvNetClassifier else fitted.predict
    whole = ask(X)
    for part in (slice(0, 1), slice(3, 5), slice(10, 27), slice(39, 40)):
        np.testing.assert_array_equal(ask(X[part]), whole[part])
